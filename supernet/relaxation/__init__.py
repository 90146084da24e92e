"""Differentiable search: a network whose choices are weighted by architecture parameters."""
