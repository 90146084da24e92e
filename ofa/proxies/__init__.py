"""``ofa proxies``: subnets of a space by zero-cost proxies, in a table that can be gone on with."""
