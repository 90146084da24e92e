"""The whole job as a scikit-learn estimator, for notebooks, pipelines and tools that know no recipes."""
