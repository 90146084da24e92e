"""Published tables of trained networks: a space, accuracies and costs of each file (``ofa.load_benchmark``)."""
