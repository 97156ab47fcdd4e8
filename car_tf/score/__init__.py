"""Any model's samples, scored.

`car_tf.score(...)` takes arrays (`car_tf.score.arrays.score`), and `python -m
car_tf.score` a file.
"""

import car_tf

car_tf.make_callable(__name__)
