"""One file per runtime, each with the same calls: load, run, time."""
