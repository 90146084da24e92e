"""What ``ofa.search`` runs: evolution (more strategies follow)."""
