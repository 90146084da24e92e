"""Floor 2: what a subnet will score and what it will cost, without building it."""
