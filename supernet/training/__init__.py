"""Training a supernet: phases (what is open when), sampling (which subnets a step), losses, the loop, checkpoints."""
