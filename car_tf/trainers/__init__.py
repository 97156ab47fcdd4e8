"""One Keras model per training stage, each with its own training step."""
