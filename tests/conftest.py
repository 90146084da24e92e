"""Two processes run tests beside each other: one thread each."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
