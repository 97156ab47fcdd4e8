"""What prediction writes for an image: samples, maps, a sheet and statistics."""

import dataclasses
import json
import pathlib
import shutil
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
from PIL import Image

import export
from car_tf.data import io, sheets
from car_tf.metrics import calibration
from car_tf.predict import grouping

STATISTICS_FILE = "statistics.json"
_TILE_WIDTH = 320
_MOMENTS = ("mean", "std", "min", "max")
_SHEET_SAMPLES = 6
# Weight of the class colours over the image.
_OVERLAY = 0.6


@dataclasses.dataclass(frozen=True)
class Result:
    """A prediction of one image."""

    file: pathlib.Path  # of the image
    picture: Image.Image  # the image at its own size
    samples: np.ndarray  # `[M, H, W]` uint8 class ids, at the working size
    entropy_bits: np.ndarray  # `[H, W]` float32, of F
    seed: Tuple[int, int]  # of the samples
    labels: Dict[str, Any]  # the model's `labels.json`

    def statistics(self) -> Dict[str, Any]:
        """Returns areas per class over the samples, as shares of the image, and more."""
        # Of the classes' frequencies over the samples, per pixel.
        flat = self.samples.reshape(len(self.samples), -1)
        differ = flat[:, (flat != flat[0]).any(0)]
        total = 0.0
        for class_id in range(int(flat.max()) + 1):
            share = grouping.count(differ, class_id) / len(flat)
            total += calibration.entropy_bits(share[:, None]).sum()
        bits = self.entropy_bits
        return {
            "image": str(self.file),
            "size": [self.picture.height, self.picture.width],
            "working_size": list(self.samples.shape[1:]),
            "num_samples": len(self.samples),
            "seed": list(self.seed),
            **class_statistics(self.samples, self.labels),
            "entropy_bits": {"mean": float(bits.mean()), "max": float(bits.max())},
            "sample_entropy_bits": float(total / flat.shape[1]),
        }

    def write(self, folder: pathlib.Path, key: str) -> None:
        """Writes everything into a new folder, which appears when it is complete.

        `key` identifies model, image and options; an earlier result is replaced.

        Raises:
          DataError: the folder holds something else than an earlier result.
        """
        before = folder.with_name(f".{folder.name}.old")
        shutil.rmtree(before, ignore_errors=True)
        if folder.exists():
            if recorded_key(folder) is None and any(folder.iterdir()):
                raise io.DataError(
                    f"{folder}: wanted an earlier prediction or nothing, found other "
                    "files; choose another --output"
                )
            # At once: of a folder that is half removed nobody knows what it was.
            folder.rename(before)
        with io.atomic_folder(folder, clean=False) as work:
            # Readable by whoever may read other new files.
            work.chmod(0o755)
            colors = color_table(self.labels)
            size = self.picture.size
            for index, sample in enumerate(self.samples):
                ids = _resized(sample, size)
                ids.save(work / f"sample_{index:02d}.png")
                painted = Image.fromarray(colors[np.asarray(ids)])
                painted.save(work / f"sample_{index:02d}_color.png")
            mean = np.mean(colors[self.samples], axis=0, dtype=np.float32)
            mean_picture = Image.fromarray(np.round(mean).astype(np.uint8))
            mean_picture.resize(size, Image.Resampling.NEAREST).save(work / "mean.png")
            bits = Image.fromarray(self.entropy_bits.astype(np.float32))
            bits = np.asarray(bits.resize(size, Image.Resampling.BILINEAR))
            levels = np.round(bits * export.ENTROPY_LEVELS_PER_BIT).astype(np.uint16)
            Image.fromarray(levels).save(work / "entropy.png")
            heat = heat_map(bits)
            heat.save(work / "entropy_color.png")
            self._sheet(colors, mean_picture, heat).save(work / "sheet.png")
            text = json.dumps({"key": key, **self.statistics()}, indent=2)
            (work / STATISTICS_FILE).write_text(text + "\n", encoding="utf-8")
        shutil.rmtree(before, ignore_errors=True)

    def _sheet(
        self, colors: np.ndarray, mean: Image.Image, heat: Image.Image
    ) -> Image.Image:
        """Image, mean, entropy and the first samples over the image, as one picture."""
        image = self.picture.convert("RGB")
        words = f"entropy, up to {self.entropy_bits.max():.2f} bits"
        tiles = [("image", image), ("mean of the samples", mean), (words, heat)]
        for index, sample in enumerate(self.samples[:_SHEET_SAMPLES]):
            painted = _resized(colors[sample], image.size)
            tiles.append((f"sample {index}", Image.blend(image, painted, _OVERLAY)))
        return sheets.montage(tiles, tile_width=_TILE_WIDTH)


def class_statistics(samples: np.ndarray, labels: Dict[str, Any]) -> Dict[str, Any]:
    """Returns areas and flips of the classes that samples `[M, H, W]` uint8 have.

    `classes`, by name: areas, as shares of the image; `flips`: how often a class takes
    its other name, and how often it should.
    """
    flat = samples.reshape(len(samples), -1)
    num_classes = len(labels["classes"])
    counts = np.stack([np.bincount(s, minlength=num_classes) for s in flat])
    areas = counts / flat.shape[1]
    classes = {
        entry["name"]: {
            "id": entry["id"],
            **{f"{m}_area": float(getattr(area, m)()) for m in _MOMENTS},
            "num_samples_with_it": int((area > 0).sum()),
            "areas": area.tolist(),
        }
        for entry in labels["classes"]
        if (area := areas[:, entry["id"]]).any()
    }
    return {"classes": classes, "flips": _flips(counts, labels)}


def _flips(counts: np.ndarray, labels: Dict[str, Any]) -> List[Dict[str, Any]]:
    """In how many samples a class took its other name, of those that have it."""
    rows, names = [], [entry["name"] for entry in labels["classes"]]
    for flip in labels["flips"]:
        one, other = counts[:, flip["original"]], counts[:, flip["flipped"]]
        present = (one + other) > 0
        if present.any():
            named = {"class": names[flip["original"]]}
            named["other_name"] = names[flip["flipped"]]
            share = float((other > one)[present].mean())
            true = {"true_probability": flip["probability"]}
            rows.append({**named, "frequency": share, **true})
    return rows


def recorded_key(folder: pathlib.Path) -> Optional[str]:
    """Returns the key of a complete result, None where there is none."""
    try:
        text = (folder / STATISTICS_FILE).read_text(encoding="utf-8")
        return json.loads(text)["key"]
    except (OSError, ValueError, KeyError):
        return None


def color_table(labels: Dict[str, Any]) -> np.ndarray:
    """Returns `[256, 3]` uint8, class id -> colour."""
    return sheets.color_table({c["id"]: c["color"] for c in labels["classes"]})


def _resized(pixels: np.ndarray, size: Tuple[int, int]) -> Image.Image:
    """Makes an image of a (width, height) without inventing classes or colours."""
    return Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST)


def heat_map(values: np.ndarray) -> Image.Image:
    """Paints `[H, W]` values from 0 to their maximum: black, red, yellow, white."""
    limit = max(float(values.max()), 1e-6)
    # Three ramps, one after the other.
    ramps = values[..., None] / limit * 3.0 - np.arange(3.0)
    return Image.fromarray(np.round(ramps.clip(0, 1) * 255).astype(np.uint8))
