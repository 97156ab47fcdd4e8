"""What a black box that is run on images has to offer."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class BlackBox(Protocol):
    """A segmenter of which only inputs and outputs are known.

    Attributes:
      num_classes: classes of its output.
      fingerprint: changes whenever its predictions may; keys the cache.
    """

    num_classes: int
    fingerprint: str

    def predict(self, image: np.ndarray) -> np.ndarray:
        """Segments one image.

        Args:
          image: `[H, W, 3]` uint8 RGB, any size.

        Returns:
          `[h, w]` uint8 class ids, or `[h, w, K]` float32 probabilities; the map
          covers the whole image, at any size.
        """
