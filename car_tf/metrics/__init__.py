"""Metrics on arrays: energy distance, IoU, calibration. No model, no files.

`ged(samples, labels)`, `hm_iou(samples, labels)`, `ece(probs, labels)` and
`realism(label_scores, sample_scores)` take arrays of one image or of many
(`car_tf.metrics.arrays`); `ged` and `realism` are modules as well.
"""

from car_tf.metrics import arrays

ece, hm_iou = arrays.ece, arrays.hm_iou
