"""Training: one loop for teachers and students, resumable at any step."""
