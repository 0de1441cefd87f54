"""Statistics over seeds, over methods and over test images: pure functions of numbers."""

ALPHA = 0.05
"""Level of all tests; intervals have the confidence 1 - ALPHA."""
