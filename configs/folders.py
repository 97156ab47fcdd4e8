"""CAR on any folder of images and raters, as its `dataset.json` says; for a laptop.

    python -m car_tf.data describe DIR
    python -m car_tf.data check DIR
    python -m car_tf.train --config folders --data_dir DIR

Images alone, or with `--blackbox` a segmenter. The size is that of `dataset.json`.
Cost: see docs/own_data.md for what was measured.
"""

from car_tf import config as config_lib


def get_config() -> config_lib.Config:
    defaults = config_lib.Data()
    return config_lib.change(
        config_lib.load("lidc_small"),
        name="folders",
        data={
            "dataset": "folders",
            "symmetries": defaults.symmetries,
            "num_drawn": defaults.num_drawn,
        },
        calibration_net={"recalibrated": True},
        stage1={"steps": 2000},
    )
