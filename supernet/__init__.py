"""Floor 0: search spaces, elastic layers, the supernet, calibration, training. Knows no other floor."""
