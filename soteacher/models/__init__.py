"""Networks. `catalogue` lists them without importing torch."""
