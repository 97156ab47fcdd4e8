"""What the proposal page knows of a model and of the images that it was given."""

import collections
import dataclasses
import secrets
import threading
import time
from concurrent import futures
from typing import Any, Callable, Dict, List, Optional, Tuple

import numpy as np
import tensorflow as tf
from PIL import Image

from car_tf.app import inputs, views
from car_tf.data import io, pictures, scans
from car_tf.metrics import calibration
from car_tf.predict import grouping, label_formats, output
from car_tf.predict import predictor as predict_predictor
from export.clients import common

# Images that are remembered; the oldest is forgotten first.
MAX_PICTURES = 8
MAX_SAMPLES = 100
# Proposals that are drawn when more are asked for.
MORE = 10
# A larger image is shown and labelled at a smaller size.
MAX_MAP_PIXELS = 4_000_000

PageError = inputs.PageError


@dataclasses.dataclass
class Picture:
    """An image with its proposals."""

    opened: inputs.Opened  # the image, without what is needed no more
    own_size: Tuple[int, int]  # (height, width) of the file
    map_size: Tuple[int, int]  # (height, width) at which the page shows and labels it
    shown: Image.Image  # the image as the page shows it, RGB, at `map_size`
    # `[H, W]` float32 of a scan, at `map_size`; None of a picture.
    values: Optional[np.ndarray]
    # What all samples share, by the names of the export's `decode`.
    features: Dict[str, Any]
    entropy_bits: np.ndarray  # `[H, W]` of F
    samples: np.ndarray  # `[S, H, W]` uint8 class ids
    # `[H, W]` bool each, where there was ever a choice. Those of further proposals are
    # put behind the others, so that a number keeps its meaning.
    regions: List[np.ndarray]
    current: int  # number of the first region of all the proposals that there are

    @property
    def name(self) -> str:
        """Of the file."""
        return self.opened.name

    def seen(self, window: Optional[scans.Window]) -> Image.Image:
        """Returns the image as it is shown, a scan through a window."""
        if window is None or self.values is None:
            return self.shown
        return pictures.within(self.values, window)


class Session:
    """Draws proposals, remembers them and answers questions about them.

    Args:
      window: through which scans are seen; see `inputs.Reader`.
      draw_examples: returns images to try; called when they are first asked for.
      log: takes lines for people: what took how long.
    """

    def __init__(
        self,
        predictor: predict_predictor.Predictor,
        options: predict_predictor.Options,
        window: Optional[scans.Window] = None,
        draw_examples: Callable[[], List[inputs.Opened]] = list,
        log: Callable[[str], None] = print,
    ):
        self._predictor, self._options = predictor, options
        self._draw_examples, self._log = draw_examples, log
        self._examples: Optional[List[inputs.Opened]] = None
        self._pictures: Dict[str, Picture] = collections.OrderedDict()
        # One image at a time: two would only slow each other down.
        self._lock = threading.Lock()
        # Nor is one opened before: a few bytes may become hundreds of megabytes. Always
        # in the same thread: the memory of many would keep what each has freed.
        self._opening = futures.ThreadPoolExecutor(1)
        self.reader = inputs.Reader(predictor, options, window)
        self.labels = predictor.labels
        self.colors = output.color_table(self.labels)
        self.shown_colors = views.visible_colors(self.colors)

    @property
    def examples(self) -> List[inputs.Opened]:
        """Images to try."""
        with self._lock:
            if self._examples is None:
                self._examples = self._draw_examples()
            return self._examples

    def warm_up(self) -> None:
        """Draws for an empty image, so that the first real one does not wait longer."""
        labels = self.labels
        height, width = labels["trained_size"]
        image = np.zeros([height, width, labels["image_channels"]], np.uint8)
        blackbox = None
        if self._predictor.needs_blackbox:
            blackbox = np.zeros([height, width], np.uint8)
            if labels["blackbox"]["input"] != "labels":
                blackbox = np.eye(labels["blackbox"]["num_classes"])[blackbox]
        with self._lock:
            features = self._predictor.encode(image, blackbox)
            self._predictor.decode(features, num_samples=2, seed=(0, 0))

    def open(self, upload: inputs.Upload) -> Dict[str, Any]:
        """Opens an upload when its turn has come; returns what `add` does."""
        return self._opening.submit(lambda: self.add(self.reader.read(upload))).result()

    def add(self, opened: inputs.Opened) -> Dict[str, Any]:
        """Draws the first proposals for an image; returns what `describe` does."""
        with self._lock:
            clock = _Clock()
            try:
                features = self._predictor.encode(opened.image, opened.blackbox)
                clock.stop("encoded")
                samples = self._draw(features, 0)
            except (ValueError, tf.errors.InvalidArgumentError) as error:
                raise PageError(common.sentence(str(error))) from error
            clock.stop(f"{len(samples)} proposals drawn")
            key = secrets.token_hex(8)
            self._pictures[key] = self._picture(opened, features, samples)
            while len(self._pictures) > MAX_PICTURES:
                self._pictures.popitem(last=False)
        found = self.describe(key)
        clock.stop("grouped")
        height, width = opened.image.shape[:2]
        opening = f"{opened.name}, {height} x {width}: opened in {opened.seconds:.2f} s"
        self._log(f"{opening}, {clock}")
        return found

    def _picture(self, opened, features, samples) -> Picture:
        own_size = (opened.picture.height, opened.picture.width)
        scale = min(1.0, (MAX_MAP_PIXELS / (own_size[0] * own_size[1])) ** 0.5)
        map_size = tuple(max(1, int(side * scale)) for side in own_size)
        values, size = None, map_size[::-1]
        if opened.scan is not None:
            deep = Image.fromarray(opened.scan.values)
            values = np.asarray(deep.resize(size, Image.Resampling.NEAREST))
        probs = np.exp(features["log_probs"][0].numpy())
        scan = opened.scan and dataclasses.replace(opened.scan, values=None)
        bare = dict(picture=None, image=None, blackbox=None, scan=scan)
        return Picture(
            opened=dataclasses.replace(opened, **bare),
            own_size=own_size,
            map_size=map_size,
            shown=opened.picture.resize(size, Image.Resampling.BILINEAR),
            values=values,
            features=features,
            entropy_bits=calibration.entropy_bits(probs),
            samples=samples,
            regions=grouping.regions(samples),
            current=0,
        )

    def _draw(self, features: Dict[str, Any], start: int) -> np.ndarray:
        num = MORE if start else self._options.num_samples
        # Further samples have a seed of their own.
        seed = (self._options.seed, start)
        return self._predictor.decode(features, num_samples=num, seed=seed)

    def more(self, key: str) -> Dict[str, Any]:
        """Draws ten proposals more, without encoding the image again."""
        picture = self.picture(key)
        with self._lock:
            if len(picture.samples) + MORE > MAX_SAMPLES:
                num = len(picture.samples)
                raise PageError(
                    f"There are {num} proposals, and at most {MAX_SAMPLES} are kept."
                )
            clock = _Clock()
            drawn = self._draw(picture.features, len(picture.samples))
            clock.stop(f"{MORE} proposals more drawn")
            picture.samples = np.concatenate([picture.samples, drawn])
            found = grouping.regions(picture.samples)
            picture.current = len(picture.regions)
            picture.regions = picture.regions + found
        found = self.describe(key)
        clock.stop("grouped")
        height, width = picture.samples.shape[1:]
        self._log(f"{picture.name}, {height} x {width}: {clock}")
        return found

    def picture(self, key: str) -> Picture:
        """Returns an image by its key."""
        found = self._pictures.get(key)
        if found is None:
            words = "This image is not remembered any more: open it again."
            raise inputs.Forgotten(words)
        return found

    def describe(self, key: str) -> Dict[str, Any]:
        """Returns groups, regions with their variants, and statistics, for JSON."""
        picture = self.picture(key)
        samples = picture.samples
        result = output.class_statistics(samples, self.labels)
        numbers = range(picture.current, len(picture.regions))
        return {
            "key": key,
            "name": picture.name,
            "stem": picture.opened.stem,
            "scan": self._scan(picture),
            "own_size": list(picture.own_size),
            "map_size": list(picture.map_size),
            "working_size": list(samples.shape[1:]),
            "num_samples": len(samples),
            "is_full": len(samples) + MORE > MAX_SAMPLES,
            "max_entropy_bits": float(picture.entropy_bits.max()),
            "groups": self._groups(samples),
            "regions": [self._region(samples, n, picture.regions[n]) for n in numbers],
            "classes": [
                {
                    **result["classes"][entry["name"]],
                    "name": entry["name"],
                    "shown_color": self.shown_colors[entry["id"]].tolist(),
                }
                for entry in self.labels["classes"]
                if entry["name"] in result["classes"]
            ],
            "flips": result["flips"],
        }

    def _scan(self, picture: Picture) -> Optional[Dict[str, Any]]:
        """Describes the slice of a scan; None of a picture."""
        scan = picture.opened.scan
        if scan is None:
            return None
        ends = [float(picture.values.min()), float(picture.values.max())]
        window = list(picture.opened.window)
        return dict(index=scan.index, count=scan.count, window=window, range=ends)

    def _groups(self, samples: np.ndarray) -> List[Dict[str, Any]]:
        """Groups proposals and says what tells a group from the largest one."""
        found = grouping.groups(samples)
        names = [entry["name"] for entry in self.labels["classes"]]
        typical = samples[found[0].members[0]]
        described = []
        for group in found:
            pairs = grouping.exchanges(samples[group.members[0]], typical)
            words = [f"{names[one]} for {names[other]}" for one, other in pairs]
            described.append({**dataclasses.asdict(group), "words": ", ".join(words)})
        return described

    def _region(
        self, samples: np.ndarray, number: int, region: np.ndarray
    ) -> Dict[str, Any]:
        names = [entry["name"] for entry in self.labels["classes"]]
        variants = []
        for group in grouping.variants(samples, region):
            most = grouping.main_classes(samples[group.members[0]][region])
            words = " and ".join(names[k] for k in most)
            variants.append({**dataclasses.asdict(group), "words": words})
        lines = label_formats.edges(region)
        # Around a hole of 3 x 3 pixels there are 13 corners: specks are left out.
        lines = [line for line in lines if len(line) > 13] or lines
        path = "".join(
            "M" + " ".join(f"{x:g},{y:g}" for x, y in line[:-1] + 0.5) + "Z"
            for line in lines
        )
        # What most have, and what the first of the others have that differs in words.
        words = list(dict.fromkeys(variant["words"] for variant in variants))[:2]
        found = dict(number=number, path=path, variants=variants)
        return {**found, "words": " or ".join(words)}

    def proposal(self, key: str, number: int) -> np.ndarray:
        """Returns a proposal's class ids, `[H, W]` at the size of the page's map."""
        picture = self.picture(key)
        if not 0 <= number < len(picture.samples):
            raise PageError("There is no such proposal: choose again.")
        return io.resize_nearest(picture.samples[number], picture.map_size)

    def region(self, key: str, number: int) -> np.ndarray:
        """Returns a region `[H, W]` bool by its number."""
        regions = self.picture(key).regions
        if not 0 <= number < len(regions):
            raise PageError("There is no such region: choose again.")
        return regions[number]

    def labelled(self, key: str, content: bytes) -> np.ndarray:
        """Reads the class ids `[H, W]` that the page sends, at the size of its map."""
        height, width = self.picture(key).map_size
        ids = np.frombuffer(content, np.uint8)
        num_classes = len(self.labels["classes"])
        known = ids.size == height * width and ((ids < num_classes) | (ids == 255))
        if not np.all(known):
            raise PageError("These labels do not belong to the image: open it again.")
        return ids.reshape(height, width)


class _Clock:
    """Says what took how long."""

    def __init__(self):
        self._last = time.perf_counter()
        self._words: List[str] = []

    def stop(self, what: str) -> None:
        now = time.perf_counter()
        self._words.append(f"{what} in {now - self._last:.2f} s")
        self._last = now

    def __str__(self) -> str:
        return ", ".join(self._words)
