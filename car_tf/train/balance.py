"""Who is updated in a step of stage 2: G, D or both."""

import functools
import math
from typing import Callable, Optional, Tuple

import tensorflow as tf

# Steps over which the mean of D's loss runs that decides who rests.
MEAN_STEPS = 20
# A D that rests looks again in every so many steps, or its loss would never change.
LOOK_EVERY = 8
# No loss of D is so high that G would rest.
ALWAYS = 100.0
CHANCE = 2.0 * math.log(2.0)


class Balance:
    """Decides by the step and by the running mean of D's loss.

    D is updated in the first `active` of every `period` steps. In the first
    `warmup_steps` it is updated alone. While the running mean of its loss is below
    `limits[0]`, D rests, and while it is above `limits[1]`, G does.
    """

    def __init__(
        self,
        *,
        active: int,
        period: int,
        warmup_steps: int = 0,
        limits: Tuple[float, float] = (0.0, ALWAYS),
    ):
        self.active, self.period = active, period
        self.warmup_steps, self.limits = warmup_steps, limits
        # Begins at chance, where neither side rests.
        self.judged = tf.Variable(
            CHANCE,
            trainable=False,
            aggregation=tf.VariableAggregation.MEAN,
            name="judged",
        )

    def observe(self, loss: tf.Tensor) -> None:
        """Moves the running mean towards D's losses `[B]` of a step."""
        now = tf.cast(tf.reduce_mean(loss), tf.float32)
        self.judged.assign(self.judged + (now - self.judged) / MEAN_STEPS)

    def discriminator_rests(self, step: tf.Tensor) -> Optional[tf.Tensor]:
        """Whether D rests in this step, a bool tensor; None where it never can."""
        reasons = []
        if self.active < self.period:
            reasons.append(step % self.period >= self.active)
        if self.limits[0] > 0:
            reasons.append((self.judged < self.limits[0]) & (step % LOOK_EVERY != 0))
        return _any(reasons)

    def generator_rests(self, step: tf.Tensor) -> Optional[tf.Tensor]:
        """Whether G rests in this step, a bool tensor; None where it never can."""
        reasons = []
        if self.warmup_steps:
            reasons.append(step < self.warmup_steps)
        if self.limits[1] < ALWAYS:
            reasons.append(self.judged > self.limits[1])
        return _any(reasons)

    def run(
        self, step: tf.Tensor, update: Callable[[bool, bool], Callable[[], bool]]
    ) -> None:
        """Runs the update that is due, in cross-replica context.

        Where nobody can rest there is no condition in the graph. While D and G both
        should rest, D is updated. `update` maps (whether D is updated, whether G is) to
        what does it and returns True.
        """
        chosen = update(True, True)
        rests = self.discriminator_rests(step)
        if rests is not None:
            chosen = functools.partial(tf.cond, rests, update(False, True), chosen)
        rests = self.generator_rests(step)
        if rests is not None:
            chosen = functools.partial(tf.cond, rests, update(True, False), chosen)
        chosen()


def _any(reasons: list) -> Optional[tf.Tensor]:
    return functools.reduce(tf.logical_or, reasons) if reasons else None
