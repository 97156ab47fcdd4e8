"""Imitates a black-box segmenter by degrading the true label map.

It stands in for a trained network on the drawn street scenes, where no network
exists. It sees the truth, so it is NOT a segmenter and has no accuracy of its own:
its faults are drawn, in the kinds and about the amounts of a decent DeepLab's
(0.90 to 0.93 pixel accuracy). A run that used it says so.
"""

import numpy as np
from PIL import Image
from scipy import ndimage

IGNORED = 255

# Classes of small or thin objects, which vanish from a network's output first. The
# value is the area, as a fraction of the image, at which half of them vanish: thin
# poles need more pixels to survive than compact persons.
SMALL_CLASSES = {
    5: 6e-4,  # pole
    6: 3e-4,  # traffic light
    7: 3e-4,  # traffic sign
    11: 3e-4,  # person
    12: 3e-4,  # rider
    13: 2e-4,  # car
    17: 4e-4,  # motorcycle
    18: 5e-4,  # bicycle
}

# Objects that are renamed as a whole: (class, mistaken for, probability). A network
# recognises an object by its shape, so it confuses entire objects.
OBJECT_CONFUSIONS = (
    (11, 12, 0.06),  # a person beside a bicycle is taken for its rider
    (12, 11, 0.20),  # and a rider for a person, which is far more frequent
    (13, 14, 0.03),  # a van for a truck
    (14, 13, 0.25),
    (15, 14, 0.15),
    (15, 13, 0.15),
    (16, 15, 0.40),
    (17, 18, 0.25),
    (18, 17, 0.08),
    (3, 2, 0.35),  # a wall is a low building
    (3, 4, 0.15),
    (4, 3, 0.20),
    (4, 8, 0.15),
)

# Surfaces that are renamed in patches: (class, mistaken for, fraction of the area).
# They have no shape of their own, so the texture decides from place to place.
SURFACE_CONFUSIONS = (
    (0, 1, 0.015),
    (1, 0, 0.14),  # grey pavement beside grey asphalt
    (1, 9, 0.03),
    (9, 8, 0.12),
    (9, 1, 0.12),
    (8, 9, 0.02),
    (8, 2, 0.06),  # facades show through the leaves
    (2, 8, 0.03),
    (2, 3, 0.015),
    (2, 10, 0.01),
    (10, 2, 0.01),
    (13, 2, 0.01),  # windows reflect the street
)

# Mean length of the boundaries' displacement, as a fraction of the image's width:
# 1.7 pixels of 512, about what an output at a quarter of the resolution leaves.
BOUNDARY_SHIFT = 0.0034


def _smooth_noise(rng: np.random.Generator, shape, bumps: int) -> np.ndarray:
    """Smooth noise of unit variance with `bumps` across, [H, W] float32."""
    height, width = shape
    rows = max(2, round(bumps * height / width))
    coarse = rng.standard_normal((rows + 1, bumps + 1)).astype(np.float32)
    noise = np.asarray(Image.fromarray(coarse).resize((width, height), Image.BICUBIC))
    return noise / max(float(noise.std()), 1e-6)


def _fill_from_nearest(label: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """Gives each hole the class of the nearest pixel that is none, 0 if all are."""
    if holes.all():
        return np.zeros_like(label)
    if not holes.any():
        return label
    wanted = dict(return_distances=False, return_indices=True)
    return label[tuple(ndimage.distance_transform_edt(holes, **wanted))]


def _components(label: np.ndarray, classes):
    """Yields each class that occurs with its box and its numbered components.

    (class, slices of the box that holds it all, [h, w] int32 component numbers inside
    the box with 0 for none, number of components).
    """
    boxes = ndimage.find_objects(label.astype(np.int32) + 1)
    for cls in classes:
        if cls < len(boxes) and boxes[cls] is not None:
            box = boxes[cls]
            yield (cls, box) + ndimage.label(label[box] == cls)


def _missed(label: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pixels of small objects that the black box overlooks, [H, W] bool."""
    missed = np.zeros(label.shape, bool)
    for cls, box, parts, number in _components(label, SMALL_CLASSES):
        area = np.bincount(parts.ravel())[1:] / label.size
        chance = 1.0 / (1.0 + (area / SMALL_CLASSES[cls]) ** 2)
        missed[box] |= np.concatenate([[False], rng.random(number) < chance])[parts]
    return missed


def _confuse_objects(label, rng: np.random.Generator, num_classes: int) -> np.ndarray:
    """Renames whole connected components to a class that they resemble."""
    result = label.copy()
    classes = sorted({cls for cls, _, _ in OBJECT_CONFUSIONS})
    for cls, box, parts, number in _components(label, classes):
        draws, names, low = rng.random(number), np.full(number + 1, cls, np.uint8), 0.0
        for source, target, probability in OBJECT_CONFUSIONS:
            if source == cls and target < num_classes:
                names[1:][(draws >= low) & (draws < low + probability)] = target
                low += probability
        result[box] = np.where(parts > 0, names[parts], result[box])
    return result


def _confuse_surfaces(label, rng: np.random.Generator, num_classes: int) -> np.ndarray:
    """Renames patches of surfaces to a class of like texture."""
    result = label.copy()
    for cls, target, fraction in SURFACE_CONFUSIONS:
        noise = _smooth_noise(rng, label.shape, 14)
        inside = label == cls
        if target < num_classes and inside.any():
            # How much goes wrong varies from image to image as well.
            share = min(1.0, fraction * rng.gamma(1.0))
            threshold = np.quantile(noise[::4, ::4], 1.0 - share)
            result[inside & (noise > threshold)] = target
    return result


def _shift_boundaries(label: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Reads each pixel's class from a place displaced by smooth noise."""
    height, width = label.shape
    shifts = []
    for _ in range(2):
        shift = 0.8 * _smooth_noise(rng, label.shape, 20)
        shift = shift + 0.6 * _smooth_noise(rng, label.shape, 70)
        # A Gaussian's mean length in two dimensions is 1.25 standard deviations.
        shifts.append(shift * (BOUNDARY_SHIFT * width / 1.25))
    rows = np.arange(height)[:, None] + np.rint(shifts[0]).astype(int)
    columns = np.arange(width) + np.rint(shifts[1]).astype(int)
    return label[np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)]


def imitate(
    label: np.ndarray, *, seed: int, index: int, num_classes: int = 19
) -> np.ndarray:
    """Degrades a true label map to what a black box might have answered.

    Takes [H, W] uint8 train ids below num_classes, 255 where ignored; `seed` and the
    image's `index`, at least 0, decide the faults. Returns [H, W] uint8 class ids below
    num_classes, never 255: ignored pixels get the class of the nearest labelled one (of
    road where none is labelled) before the faults are drawn. A pure function.
    """
    if label.ndim != 2 or label.dtype != np.uint8:
        found = f"{label.shape} of {label.dtype}"
        raise ValueError(f"wanted a label map [H, W] of uint8, got {found}")
    wrong = label[(label >= num_classes) & (label != IGNORED)]
    if wrong.size:
        words = f"wanted class ids below {num_classes} or {IGNORED}"
        raise ValueError(f"{words}, got {wrong.max()}")
    rng = np.random.default_rng((seed, index, 2))
    holes = (label == IGNORED) | _missed(label, rng)
    result = _fill_from_nearest(label, holes)
    result = _confuse_objects(result, rng, num_classes)
    result = _confuse_surfaces(result, rng, num_classes)
    return _shift_boundaries(result, rng)
