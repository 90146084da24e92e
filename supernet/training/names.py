"""Names of options whose functions need torch: what a recipe may say, known without importing torch.

Samplings (``sampling.SAMPLERS``), schedules (``phases.SCHEDULES``) and teachers (``phases.TEACHERS``) need no torch:
their own tables are read. A test compares the names here with the keys of the dicts.
"""

SOFT_LOSS_NAMES = ("soft_ce", "kl", "alpha")  # losses.SOFT_LOSSES
LR_SCHEDULE_NAMES = ("cosine", "linear")  # optim.SCHEDULERS
SUBNETS_PER_RANK = ("shared", "independent")  # Settings.subnets_per_rank
