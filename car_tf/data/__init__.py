"""Data sets: files, or scenes drawn in memory, to examples and training batches."""
