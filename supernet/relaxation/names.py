"""Names of what needs torch, for recipes: methods (``methods.METHODS``) and cost terms (``objectives.COST_TERMS``).

A test compares them with the keys of the dicts.
"""

METHOD_NAMES = ("darts", "drnas", "gdas")
COST_TERM_NAMES = ("fbnet", "proxyless", "mnasnet", "hinge")
