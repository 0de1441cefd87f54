"""How a student learns from a teacher: one file a method."""
