"""A family from outside the product: what a new one needs, and nothing else. Tests put its folder on ``__path__``."""
