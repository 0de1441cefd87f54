"""Trained networks for use elsewhere, and networks that were trained elsewhere."""
