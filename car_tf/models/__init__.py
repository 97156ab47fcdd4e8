"""The networks F, G and D as Keras models."""
