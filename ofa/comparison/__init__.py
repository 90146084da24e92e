"""``ofa compare``: several runs, or searches on one supernet, in one table and one plot."""
