"""Data sets: files (or scenes drawn in memory) to examples."""
