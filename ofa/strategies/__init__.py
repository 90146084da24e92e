"""What ``ofa.search`` runs: evolution, random draws and NSGA-II, one file each."""
