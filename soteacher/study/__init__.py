"""The study file: its schema, and its expansion into runs and jobs. Never imports torch."""
