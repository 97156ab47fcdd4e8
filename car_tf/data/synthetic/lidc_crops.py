"""Drawn crops that imitate LIDC: NOT computed tomography, no clinical meaning.

Everything here is drawn from random numbers: lung texture, vessels, chest wall, a
lesion in the centre, blur and noise of a reconstructed slice, and the outlines of four
imitated raters. It exists so that the LIDC configuration runs without a download. A
score on these crops says nothing about real scans.

The raters disagree as LIDC's do, in presence (a faint or small lesion is marked by
some of them only, at least by one), in extent (each draws the contour at a level of
their own of the lesion's soft edge; part-solid lesions with or without their halo) and
in shape (each outline wobbles in its own way). On 1000 crops the mean 1 - IoU over all
16 pairs of raters is 0.38; on real crops it is 0.39.

Lengths are pixels of 0.5 mm, intensities Hounsfield units.
"""

import dataclasses
import functools
import math
from typing import Optional, Tuple

import numpy as np
import PIL.Image
import PIL.ImageDraw

Rng = np.random.Generator
NUM_RATERS = 4
_MARGIN = 18  # Drawn around the crop, so that filters do not wrap into it.
_NUM_ANGLES = 720
_AIR, _FAT, _TISSUE, _MARROW, _CORTEX = -990.0, -90.0, 45.0, 250.0, 900.0


def draw_crop(
    index: int, *, seed: int, size: int = 180
) -> Tuple[np.ndarray, np.ndarray]:
    """Draws one crop with the masks of four imitated raters.

    The seed and the index, any integers from 0, alone decide what is drawn. Returns the
    image `[size, size, 1]` uint8 and masks `[4, size, size]` uint8 of 0 and 1, not all
    of them empty.
    """
    rng = np.random.default_rng([seed, index])
    grid = _grid(size + 2 * _MARGIN)
    lesion = _Lesion.drawn(rng)
    towards = rng.uniform(0, 2 * np.pi)
    wall = _wall_depth(rng, grid, lesion, towards)
    image = np.maximum(_parenchyma(rng, grid), _vessels(rng, grid, lesion, towards))
    image = lesion.laid_over(image, grid)
    image = _add_wall(rng, image, wall, grid)
    image = _reconstructed(rng, image)
    masks = _read(rng, lesion, grid) & (wall < 0)
    inner = slice(_MARGIN, -_MARGIN)
    grey = _to_grey(rng, image[inner, inner])
    return grey[..., None], masks[:, inner, inner].astype(np.uint8)


@dataclasses.dataclass(frozen=True)
class _Grid:
    """Pixel coordinates around the centre, `[S, S]` each."""

    y: np.ndarray
    x: np.ndarray
    radius: np.ndarray
    angle_index: np.ndarray  # direction, as an index of a table


@functools.lru_cache(maxsize=2)
def _grid(length: int) -> _Grid:
    offsets = np.arange(length) - (length - 1) / 2
    y, x = np.meshgrid(offsets, offsets, indexing="ij")
    return _Grid(y, x, np.hypot(y, x), _angle_index(y, x))


def _angle_index(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Returns the direction of each offset as an index of a table by angle."""
    return np.floor(np.arctan2(y, x) / (2 * np.pi) * _NUM_ANGLES).astype(int)


def _unit(direction: float) -> np.ndarray:
    """Returns the unit vector (x, y) of a direction."""
    return np.array([np.cos(direction), np.sin(direction)])


def _angular_noise(rng: Rng, num_harmonics: int, decay: float) -> np.ndarray:
    """Returns a smooth random function of the angle, `[720]`, of unit variance."""
    scale = np.arange(1, num_harmonics + 1.0) ** -decay
    scale /= np.sqrt((scale**2).sum())
    cosines, sines = _waves(num_harmonics)
    found = (rng.normal(size=num_harmonics) * scale) @ cosines
    return found + (rng.normal(size=num_harmonics) * scale) @ sines


@functools.lru_cache(maxsize=8)
def _waves(num_harmonics: int) -> Tuple[np.ndarray, np.ndarray]:
    angles = np.arange(_NUM_ANGLES) * (2 * np.pi / _NUM_ANGLES)
    waves = np.outer(np.arange(1, num_harmonics + 1), angles)
    return np.cos(waves), np.sin(waves)


@functools.lru_cache(maxsize=2)
def _frequency(length: int) -> np.ndarray:
    """Returns the radial frequency of a real transform, cycles per pixel."""
    return np.hypot(np.fft.fftfreq(length)[:, None], np.fft.rfftfreq(length)[None])


def _gauss(length: int, sigma: float) -> np.ndarray:
    """Returns the frequency response of a Gaussian blur."""
    return np.exp(-2 * (np.pi * sigma * _frequency(length)) ** 2)


def _filtered(image: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Multiplies an image's real Fourier transform by a response."""
    return np.fft.irfft2(np.fft.rfft2(image) * response, s=image.shape)


def _noise(rng: Rng, response: np.ndarray) -> np.ndarray:
    """Returns noise `[S, S]` of a frequency response, mean 0 and variance 1."""
    noise = _filtered(rng.normal(size=(len(response),) * 2), response)
    return (noise - noise.mean()) / noise.std()


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -40, 40)))


@dataclasses.dataclass(frozen=True)
class _Lesion:
    """A star-shaped lesion whose density falls off softly at its outline.

    Outlines are `[720]` radii by angle, at which the density is half.
    """

    outline: np.ndarray
    smooth_outline: np.ndarray  # without spicules
    core_outline: Optional[np.ndarray]  # of a solid core
    softness: float  # width of the edge in pixels
    density: float  # Hounsfield units outside the core
    conspicuity: float  # each rater marks it with even odds at 0
    wall_distance: Optional[float]  # to the pleura that it touches, in pixels

    @classmethod
    def drawn(cls, rng: Rng) -> "_Lesion":
        """Draws a lesion; sizes and kinds in about the shares they have in LIDC."""
        radius = np.clip(np.exp(rng.normal(np.log(5.6), 0.62)), 2.2, 26)
        kind = rng.choice(["solid", "part-solid", "ground-glass"], p=[0.7, 0.15, 0.15])
        if kind == "solid":
            density = rng.normal(20, 60) - 250 * rng.random() ** 3
            softness = 0.6 + 0.07 * radius * rng.random()
        else:
            density = rng.uniform(-700, -450)
            softness = 0.8 + 0.25 * radius * rng.random()
        core = None
        if kind == "part-solid":
            core = _blob(rng, radius * rng.uniform(0.35, 0.65))
        smooth = _blob(rng, radius)
        outline = smooth
        if radius > 4 and rng.random() < 0.45:
            spicules = np.maximum(_angular_noise(rng, 24, 0.0) - 1, 0)
            outline = smooth + radius * rng.uniform(0.2, 0.7) * spicules
        contrast = 0.8 if kind == "part-solid" else (density + 850) / 870
        conspicuity = 2.2 * np.log(radius / 4) + 3 * (contrast - 0.85)
        distance = smooth.mean() * rng.uniform(0.7, 1.3) if rng.random() < 0.2 else None
        return cls(
            outline=outline,
            smooth_outline=smooth,
            core_outline=core,
            softness=softness,
            density=density,
            conspicuity=conspicuity + rng.normal(0, 1.3),
            wall_distance=distance,
        )

    def laid_over(self, image: np.ndarray, grid: _Grid) -> np.ndarray:
        """Returns the image with the lesion in its centre; vessels show through."""
        cover = _sigmoid((self.outline[grid.angle_index] - grid.radius) / self.softness)
        image = image + cover * (np.maximum(image, self.density) - image)
        if self.core_outline is not None:
            cover = _sigmoid(self.core_outline[grid.angle_index] - grid.radius)
            image = image + cover * (np.maximum(image, 20.0) - image)
        return image


def _blob(rng: Rng, radius: float) -> np.ndarray:
    """Returns a lobulated, somewhat elongated outline `[720]` of a mean radius."""
    angles = np.arange(_NUM_ANGLES) * (2 * np.pi / _NUM_ANGLES)
    stretch = 0.15 * np.cos(2 * angles + rng.uniform(0, 2 * np.pi))
    return radius * np.exp(0.16 * _angular_noise(rng, 9, 0.8) + stretch)


def _parenchyma(rng: Rng, grid: _Grid) -> np.ndarray:
    length = len(grid.x)
    slow = _noise(rng, _gauss(length, 25.0)) * rng.uniform(5, 25)
    fine = _noise(rng, _gauss(length, 2.0)) * rng.uniform(10, 25)
    return rng.uniform(-900, -800) + slow + fine


def _vessels(rng: Rng, grid: _Grid, lesion: _Lesion, towards: float) -> np.ndarray:
    """Returns the vessels' Hounsfield units `[S, S]`, air where there are none."""
    length = len(grid.x)
    canvas = _Canvas(length)
    middle = np.array([length / 2, length / 2])
    hilum = towards + np.pi + rng.normal(0, 0.4)
    source = middle + length * rng.uniform(0.4, 0.8) * _unit(hilum)
    # Most vessels cross the slice: dots, and short pieces that point at the hilum.
    num = rng.poisson(rng.uniform(50, 170))
    starts = rng.uniform(0, length, (num, 2))
    directions = np.arctan2(*(starts - source).T[::-1]) + rng.normal(0, 0.6, num)
    calibers = 0.45 + rng.exponential(0.55, num)
    reaches = rng.exponential(10, num) * (rng.random(num) < 0.4)
    for piece in zip(starts, directions, calibers, reaches):
        canvas.draw_branch(rng, *piece)
    for _ in range(rng.integers(0, 5)):
        start = source + rng.normal(0, length * 0.12, 2)
        direction = hilum + np.pi + rng.normal(0, 0.5)
        canvas.draw_tree(rng, start, direction, 1 + rng.exponential(1.2))
    if rng.random() < 0.4:
        # A vessel that leads to the lesion.
        caliber = rng.uniform(0.5, 0.5 + 0.2 * lesion.outline.mean())
        canvas.draw_tree(rng, middle, rng.uniform(0, 2 * np.pi), caliber)
    return _AIR + canvas.filled() * (30 - _AIR)


class _Canvas:
    """Vessels as the filled share of each pixel, drawn larger and averaged."""

    _SCALE = 3

    def __init__(self, length: int):
        self._length = length
        side = length * self._SCALE
        self._image = PIL.Image.new("F", (side, side), 0.0)
        self._pen = PIL.ImageDraw.Draw(self._image)

    def filled(self) -> np.ndarray:
        size = (self._length, self._length)
        return np.asarray(self._image.resize(size, PIL.Image.Resampling.BOX))

    def draw_branch(self, rng, start, direction, caliber, reach):
        """Draws a piece that bends and tapers; returns its end and direction."""
        x, y = (float(value) for value in start)
        num_steps = int(reach / 2)
        turns = rng.normal(0, 0.1, num_steps).tolist()
        self._draw(x, y, x, y, caliber)
        for index, turn in enumerate(turns, 1):
            direction += turn
            before = x, y
            x, y = x + 2 * math.cos(direction), y + 2 * math.sin(direction)
            self._draw(*before, x, y, caliber * (1 - 0.2 * index / num_steps))
        return (x, y), direction

    def _draw(self, x0, y0, x1, y1, radius) -> None:
        x0, y0, x1, y1 = (value * self._SCALE for value in (x0, y0, x1, y1))
        half = max(0.5, radius * self._SCALE)
        # Thin vessels fill a part of the slice's thickness only.
        fill = min(max(radius, 0.3), 1.0)
        self._pen.line((x0, y0, x1, y1), fill=fill, width=round(2 * half))
        self._pen.ellipse((x1 - half, y1 - half, x1 + half, y1 + half), fill=fill)

    def draw_tree(self, rng, start, direction, caliber) -> None:
        """Draws a vessel that forks, thins and leaves the slice."""
        pending = [(start, direction, caliber)]
        for _ in range(40):
            if not pending:
                return
            start, direction, caliber = pending.pop(0)
            reach = caliber * rng.uniform(5, 16)
            end, direction = self.draw_branch(rng, start, direction, caliber, reach)
            turn = rng.uniform(0.3, 1.0) * rng.choice([-1, 1])
            for share, angle, odds in ((0.8, -0.3 * turn, 0.9), (0.55, turn, 0.6)):
                if caliber * share > 0.35 and rng.random() < odds:
                    pending.append((end, direction + angle, caliber * share))


def _wall_depth(rng: Rng, grid: _Grid, lesion: _Lesion, towards: float) -> np.ndarray:
    """Returns the depth `[S, S]` under the pleura, negative within the lung."""
    if lesion.wall_distance is None and rng.random() < 0.15:
        return np.full_like(grid.x, -1e3)
    curvature = rng.uniform(75, 190)
    distance = lesion.wall_distance
    if distance is None:
        distance = min(lesion.outline.max() + 3 + rng.exponential(28), curvature)
    offset = (curvature - distance) * _unit(towards)
    x, y = grid.x + offset[0], grid.y + offset[1]
    outline = curvature * (1 + 0.04 * _angular_noise(rng, 10, 1.2))
    # The noise moves the wall; put it back to its distance where the lesion is.
    outline += curvature - outline[int(towards / (2 * np.pi) * _NUM_ANGLES)]
    return np.hypot(y, x) - outline[_angle_index(y, x)]


def _add_wall(
    rng: Rng, image: np.ndarray, depth: np.ndarray, grid: _Grid
) -> np.ndarray:
    """Lays muscle, fat, ribs and the air outside over what is under the pleura."""
    if depth.max() < -1:
        return image
    length = len(image)
    fat = _sigmoid(4 * (_noise(rng, _gauss(length, 7.0)) + rng.uniform(-1, 1.5)))
    fat *= np.clip((depth - 5) / 6, 0, 1)
    wall = _TISSUE + fat * (_FAT - _TISSUE)
    wall += 12 * _noise(rng, _gauss(length, 1.5))
    places = np.argwhere((depth > 7) & (depth < 16))
    for _ in range(rng.integers(0, 4) if len(places) else 0):
        wall = _add_rib(rng, wall, depth, grid, tuple(rng.choice(places)))
    wall = np.where(depth > rng.uniform(35, 140), _AIR, wall)
    return image + _sigmoid(depth / 0.6) * (wall - image)


def _add_rib(rng, wall, depth, grid, place) -> np.ndarray:
    """Lays a rib along the pleura: marrow within a bright cortex."""
    long, wide = rng.uniform(10, 38), rng.uniform(4.5, 7.5)
    across = depth - depth[place]
    away = (grid.y - grid.y[place]) ** 2 + (grid.x - grid.x[place]) ** 2
    along = np.maximum(away - across**2, 0)
    rim = (1 - np.sqrt((across / wide) ** 2 + along / long**2)) * wide
    bone = _MARROW + (_CORTEX - _MARROW) * np.exp(-((rim / 1.6) ** 2))
    return wall + _sigmoid(rim / 0.5) * (bone - wall)


def _reconstructed(rng: Rng, image: np.ndarray) -> np.ndarray:
    """Blurs like a reconstruction kernel, and adds noise of the kernel's colour."""
    length, sigma = len(image), rng.uniform(0.8, 1.3)
    # Filtered backprojection: noise power grows with frequency up to the cut-off.
    colour = (0.05 + _frequency(length)) * _gauss(length, 0.8 * sigma)
    level = np.exp(rng.normal(np.log(18), 0.5))
    return _filtered(image, _gauss(length, sigma)) + level * _noise(rng, colour)


def _to_grey(rng: Rng, image: np.ndarray) -> np.ndarray:
    """Stretches Hounsfield units to grey values, differently from crop to crop."""
    low = min(image.min(), -1000.0) + rng.uniform(-30, 30)
    high = max(image.max(), 150.0) + rng.uniform(0, 700)
    return np.clip((image - low) / (high - low) * 255, 0, 255).astype(np.uint8)


def _read(rng: Rng, lesion: _Lesion, grid: _Grid) -> np.ndarray:
    """Returns the masks `[4, S, S]` bool of four raters, not all of them empty."""
    odds = lesion.conspicuity + rng.normal(0, 0.4, NUM_RATERS)
    marks = rng.random(NUM_RATERS) < _sigmoid(1.2 * odds)
    if not marks.any():
        marks[rng.integers(NUM_RATERS)] = True
    masks = np.zeros((NUM_RATERS, *grid.x.shape), bool)
    generosity = rng.normal(0, 0.6)
    for rater in np.flatnonzero(marks):
        spicules = lesion.outline - lesion.smooth_outline
        outline = lesion.smooth_outline + rng.random() * spicules
        if lesion.core_outline is not None and rng.random() < 0.35:
            outline = lesion.core_outline
        # The contour lies where the density falls to the rater's level:
        # sigmoid((outline - r) / softness) = sigmoid(-logit), solved for r.
        logit = generosity + rng.normal(0, 0.9)
        wobble = (0.35 + 0.06 * outline.mean()) * _angular_noise(rng, 7, 0.8)
        contour = outline + lesion.softness * logit + wobble + rng.normal(0.2, 0.5)
        masks[rater] = grid.radius < np.maximum(contour, 1.2)[grid.angle_index]
    return masks
