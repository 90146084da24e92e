"""Names of what needs torch, for recipes. A test compares them with the keys of the dicts."""

METHOD_NAMES = (  # methods.METHODS
    "darts",
    "darts_2nd",
    "darts_plus",
    "pdarts",
    "snas",
    "drnas",
    "fairdarts",
    "milenas",
    "proxylessnas",
    "fbnet",
    "pcdarts",
    "gdas",
)
COST_TERM_NAMES = ("fbnet", "proxyless", "mnasnet", "hinge")  # objectives.COST_TERMS
