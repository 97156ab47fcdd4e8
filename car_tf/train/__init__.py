"""The main job: stage 1 trains F, stage 2 trains G against D.

`car_tf.train(...)` runs it from Python (`car_tf.train.api.train`), and `python -m
car_tf.train` from a command line.
"""

import car_tf

car_tf.make_callable(__name__)
