"""Black boxes: image to labels or class probabilities."""
