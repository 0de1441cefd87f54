"""The store of trained runs: run folders, their status, forecasts of cost, pruning. No torch."""
