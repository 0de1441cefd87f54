"""The store of trained runs: run folders, status, cost forecasts and pruning, without torch."""
