"""Who is updated in a step of stage 2."""

import pytest
import tensorflow as tf

from car_tf.train import balance

CHANCE = 1.3863


def movers(who, judged=CHANCE, steps=range(12)):
    """Who is updated in each step, as text, while D's mean loss stays as it is."""
    who.judged.assign(judged)
    step, found = tf.Variable(0, dtype=tf.int64), tf.Variable("")

    @tf.function
    def move():
        def update(d, g):
            def run():
                found.assign("D" * d + "G" * g)
                return True

            return run

        who.run(step, update)

    seen = []
    for number in steps:
        step.assign(number)
        move()
        seen.append(found.numpy().decode())
    return seen


def test_both_move_in_every_step_where_nobody_may_rest():
    assert movers(balance.Balance(active=1, period=1)) == ["DG"] * 12


def test_d_moves_in_the_first_steps_of_every_period():
    who = balance.Balance(active=2, period=5)
    assert movers(who) == ["DG", "DG", "G", "G", "G"] * 2 + ["DG", "DG"]


def test_d_is_alone_at_first():
    who = balance.Balance(active=1, period=1, warmup_steps=3)
    assert movers(who) == ["D"] * 3 + ["DG"] * 9
    # Whatever its period says and however far ahead it is.
    who = balance.Balance(active=1, period=9, warmup_steps=3, limits=(1.0, 1.2))
    assert movers(who, 0.5, range(3)) == ["D"] * 3


@pytest.mark.parametrize(
    "judged, expected",
    [
        # Far ahead, D looks again in every eighth step.
        (0.9, ["DG"] + ["G"] * 7 + ["DG"] + ["G"] * 3),
        (1.1, ["DG"] * 12),
        (1.3, ["D"] * 12),
    ],
)
def test_the_one_who_wins_rests(judged, expected):
    who = balance.Balance(active=1, period=1, limits=(1.0, 1.2))
    assert movers(who, judged) == expected


def test_the_mean_of_d_s_loss_begins_at_chance_and_moves_a_twentieth():
    who = balance.Balance(active=1, period=1)
    assert float(who.judged) == pytest.approx(CHANCE, abs=1e-4)
    who.observe(tf.constant([0.1, 0.3]))
    # 1.3863 + (0.2 - 1.3863) / 20.
    assert float(who.judged) == pytest.approx(1.32698, abs=1e-4)
