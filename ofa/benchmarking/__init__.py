"""``ofa benchmark``: every search strategy on a published table of networks, many seeds each."""
