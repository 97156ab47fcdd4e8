"""G of one level instead of four: its graph is traced in a fraction of the time."""

import contextlib
from unittest import mock

from car_tf.models import draw_refinement_net, layers, refinement_net


@contextlib.contextmanager
def generators(num_levels=1):
    """Builds every G of this process with fewer levels as long as it lasts.

    Images are padded as for four levels, so that nothing else changes.
    """
    widths = draw_refinement_net.WIDTHS[: num_levels + 1]
    with (
        mock.patch.object(layers, "NUM_DOWN_BLOCKS", num_levels),
        mock.patch.object(refinement_net, "NUM_BLOCKS", num_levels),
        mock.patch.object(draw_refinement_net, "WIDTHS", widths),
    ):
        yield
