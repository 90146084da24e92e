"""Why training ends early."""

REMEDY = "lower the learning rate, or clip gradients (clip_grad)"


class Stopped(Exception):
    """Training ended early because ``stop`` said so; the state was given to ``save_checkpoint``."""


class Diverged(RuntimeError):
    """The loss or the weights are no longer finite."""


class TooFewImages(ValueError):
    """No batch of an epoch had two images."""


class OutOfMemory(RuntimeError):
    """A step did not fit in memory."""
