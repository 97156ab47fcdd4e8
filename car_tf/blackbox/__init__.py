"""Black boxes: any segmenter that exists already, from an image to labels or class probabilities."""
