"""From a trained run to numbers: samples, scores, and what they are compared with.

`car_tf.evaluate(...)` does it from Python (`car_tf.evaluate.api.evaluate`), and `python
-m car_tf.evaluate` from a command line.
"""

import car_tf

car_tf.make_callable(__name__)
