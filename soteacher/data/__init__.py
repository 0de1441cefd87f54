"""Data sets, which are prepared once, and the stream of training batches."""
