"""A run directory in, one self-contained page of results out."""
