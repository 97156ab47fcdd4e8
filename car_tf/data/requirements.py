"""What each data set can have, checked before files are read. No TensorFlow."""

from car_tf import config as config_lib


def check(config: config_lib.Config) -> None:
    """Raises ConfigError where a configuration asks for what its data set lacks."""
    data, blackbox = config.data, config.blackbox
    if data.dataset == "lidc" and data.size != data.crop_size:
        raise config_lib.ConfigError(
            "data.size: LIDC is cropped at the centre, so wanted data.crop_size "
            f"{data.crop_size}, got {data.size}"
        )
    if data.dataset == "folders" and not data.data_dir:
        raise config_lib.ConfigError(
            "--data_dir: wanted a folder of images and masks, got none "
            "(data.dataset=folders draws nothing)"
        )
    is_read = blackbox.kind in ("auto", "live", "predictions") and blackbox.path
    if is_read and not data.data_dir:
        raise config_lib.ConfigError(
            "blackbox.path: drawn scenes have no files that a black box could be run "
            "on; give --data_dir as well"
        )
    is_imitated = blackbox.kind == "auto" and not blackbox.path
    if data.dataset != "cityscapes" and (is_imitated or blackbox.kind == "imitation"):
        raise config_lib.ConfigError(
            "blackbox.kind: only street scenes have an imitated black box; wanted none, "
            f"or a segmenter (--blackbox), got {blackbox.kind}"
        )
    if data.dataset != "cityscapes" and blackbox.encoding != "auto":
        raise config_lib.ConfigError(
            "blackbox.encoding: only Cityscapes has two kinds of ids; wanted auto and, "
            f"for other ids, blackbox.class_map, got {blackbox.encoding}"
        )
