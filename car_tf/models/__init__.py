"""Networks F, G and D as Keras models."""
