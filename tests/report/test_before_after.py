"""What stage 2 has changed, in a sentence and a figure."""

import copy
import types

import numpy as np

from car_tf.report import before_after

METRICS = {
    "num_samples": 50,
    "by_num_samples": {"16": {"ged": 0.1714}, "50": {"ged": 9.0}},
    "baselines": {"before_stage2": {"by_num_samples": {"16": {"ged": 0.1739}}}},
    "realism": {"auc": 0.75, "before_stage2": {"auc": 0.98}},
}


def test_the_verdict_is_a_sentence():
    said = "stage 2 changed GED16 from 0.174 to 0.171"
    judged = ", realism (judge AUC, 0.5 is perfect) from 0.980 to 0.750"
    assert before_after.verdict(METRICS) == said + judged
    assert before_after.verdict({**METRICS, "realism": {"auc": 0.7}}) == said
    matched = copy.deepcopy(METRICS)
    matched["by_num_samples"]["16"].update(ged=None, hm_iou=0.5)
    matched["baselines"]["before_stage2"]["by_num_samples"]["16"]["hm_iou"] = 0.25
    said = "stage 2 changed GED16 from 0.174 to undefined, HM-IoU from 0.250 to 0.500"
    assert before_after.verdict(matched) == said + judged
    # Of a run that was evaluated before there were baselines.
    assert before_after.verdict({"by_num_samples": {}}) is None


def test_pairs_of_one_z_stand_side_by_side():
    image = np.full((4, 8, 3), 100, np.uint8)
    before, after = ([np.full((4, 8, 3), v, np.uint8)] * 5 for v in (9, 200))
    shown = dict(image=image, labels=[image * 0], before=before, samples=after)
    gallery = [types.SimpleNamespace(**shown)] * 2
    figure = before_after.before_after_figure(gallery, num_shown=2)
    shown = [axis.images[0].get_array() for axis in figure.axes]
    assert [int(picture[0, 0, 0]) for picture in shown[:6]] == [100, 0, 9, 200, 9, 200]
    assert len(shown) == 12
    titles = [axis.get_title() for axis in figure.axes[:6]]
    assert titles[2:] == [
        f"z {z}, {when}" for z in (1, 2) for when in ("before", "after")
    ]
