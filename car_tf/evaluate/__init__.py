"""From a trained run to numbers: samples, scores, and what they are compared with."""
