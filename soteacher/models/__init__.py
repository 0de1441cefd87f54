"""Networks. `catalogue` tells what there is without importing torch."""
