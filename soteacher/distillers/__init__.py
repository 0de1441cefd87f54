"""Distillers: the methods by which a student learns from a teacher, one file per method."""
