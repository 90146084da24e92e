"""Cell search spaces: one small graph of operations is chosen, and a network repeats it."""
