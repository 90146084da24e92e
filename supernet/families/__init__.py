"""Per timm family: how a Subnet becomes timm constructor arguments, and which leaves are elastic."""
