"""What all other rooms use: errors, files, settings, the registry, random numbers, the cursor."""
