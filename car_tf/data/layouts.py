"""Which data set lies in a folder, and what follows for a configuration.

No TensorFlow: a job stops early where a folder and its configuration do not fit.
"""

import pathlib
from typing import List, Sequence

from car_tf import config as config_lib
from car_tf.data import io, splits
from car_tf.data.folders import description, layout

_CITYSCAPES = ("leftImg8bit", "gtFine")
_ARRAYS = ("data_lidc.hdf5", "data_lidc.pickle")


def dataset_at(root: pathlib.Path) -> str:
    """Tells a data set by what lies there: a value of `data.dataset`; empty for none.

    Raises:
      DataError: a part of Cityscapes.
    """
    if "classes" in (description.content_of(root) or {}):
        return "folders"
    if any((root / name).is_dir() for name in _CITYSCAPES):
        return "cityscapes"
    whole = root.resolve()
    for path in (whole, *whole.parents):
        if path.name in _CITYSCAPES:
            words = "wanted the folder with leftImg8bit and gtFine, which is"
            raise io.DataError(f"{root}: {words} {path.parent}")
    nested = [root / name for name in splits.SPLITS]
    nested += [root / f"lidc_crops_{name}" / name for name in splits.SPLITS]
    is_array = root.is_file() or any((root / name).is_file() for name in _ARRAYS)
    if is_array or any((path / "gt").is_dir() for path in nested):
        return "lidc"
    places = [path / name for path in (root, *nested) for name in layout.IMAGES]
    return "folders" if any(path.is_dir() for path in places) else ""


def known_dataset_at(root: pathlib.Path) -> str:
    """Tells a data set as `dataset_at` does; none that is known is a DataError."""
    if not root.exists():
        raise io.DataError(f"{root}: no file or folder")
    found = dataset_at(root)
    if found:
        return found
    raise io.DataError(
        f"{root}: wanted leftImg8bit and gtFine (Cityscapes), <split>/images and "
        "<split>/gt or data_lidc.* (LIDC), or images and masks of raters (`python -m "
        "car_tf.data describe DIR` describes them), found no data set that is known"
    )


def overrides(config: config_lib.Config, data_dir: str, kind: str) -> List[str]:
    """Returns `section.field=value` texts that a folder with `dataset.json` asks for.

    The working size is the folder's, and training crops become no larger than it. For
    data sets of other kinds, see `dataset_at`, there is nothing to change.
    """
    if kind != "folders":
        return []
    told, data = description.read(pathlib.Path(data_dir).expanduser()), config.data
    low = data.scale_range[0]
    fits = [int((side - 1) * low + 1e-6) + 1 for side in told.size]
    crop = [min(sides) for sides in zip(data.crop_size, fits)]
    if data.symmetries == "square":
        crop = [min(crop)] * 2
    sizes = "data.size={},{}".format(*told.size), "data.crop_size={},{}".format(*crop)
    return ["data.dataset=folders", *sizes]


def config_to_read(data_dir: str, texts: Sequence[str] = ()) -> config_lib.Config:
    """Returns a configuration to read a data set and run a black box, not to train.

    The data set is told by what lies there; `section.field=value` texts come last.

    Raises:
      ConfigError, DataError: wrong texts, or a wrong `dataset.json`.
    """
    kind = known_dataset_at(pathlib.Path(data_dir).expanduser())
    crop_size = (16, 16)  # So small that it limits no size.
    data = {"dataset": kind, "crop_size": crop_size, "scale_range": (1.0, 1.0)}
    if kind == "lidc":
        data.update(size=(128, 128), crop_size=(128, 128))
    config = config_lib.Config(name="read", data=config_lib.Data(**data))
    asked = overrides(config, data_dir, kind)
    return config_lib.override(config, [*asked, *texts, f"data.data_dir={data_dir}"])
