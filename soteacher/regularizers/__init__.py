"""Regularizers: additions to the cross-entropy of teachers, one file per regularizer."""
