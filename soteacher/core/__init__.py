"""The base of all other packages: errors, files, settings, registry, random numbers, cursor."""
