"""The canvas and camera that draw street scenes, and what a scene consists of.

Road coordinates: s metres to the right of the road's centre line, y metres above
the ground, z metres ahead of the camera.
"""

import dataclasses
import math
from typing import Callable, List, Tuple

import numpy as np
from PIL import Image, ImageDraw

ROAD, SIDEWALK, BUILDING, WALL, FENCE, POLE, LIGHT, SIGN = range(8)
VEGETATION, TERRAIN, SKY, PERSON, RIDER, CAR, TRUCK, BUS = range(8, 16)
BICYCLE, IGNORED = 18, 255

SUPERSAMPLING = 2
FAR = 160.0  # metres: where the ground ends and the bend stops growing
NEAR = 0.6  # metres: nothing nearer is drawn
DETAIL = 16.0  # canvas pixels per metre below which hands, shoes, wheels are left out

# Walls, cars and clothes share most of their hues on purpose: colour alone must
# not tell the classes apart.
FACADES = (
    (196, 178, 140), (178, 170, 160), (150, 82, 66), (214, 206, 192), (120, 116, 112),
    (190, 150, 96), (168, 120, 100), (140, 150, 160), (226, 220, 210), (96, 90, 88),
)  # fmt: skip
PAINTS = (
    (28, 29, 32), (58, 60, 64), (96, 98, 102), (150, 152, 156), (206, 208, 210),
    (232, 232, 230), (126, 24, 26), (30, 46, 92), (44, 82, 120), (34, 62, 44),
    (172, 156, 128), (110, 70, 50), (188, 52, 36), (74, 78, 84),
)  # fmt: skip
CLOTHES = PAINTS + (
    (24, 24, 30), (44, 48, 70), (70, 74, 90), (160, 44, 60), (210, 180, 60),
    (90, 110, 80), (120, 80, 130), (200, 190, 180), (60, 100, 150), (84, 62, 48),
)  # fmt: skip
SKINS = ((226, 184, 156), (198, 150, 118), (150, 104, 76), (96, 64, 48))
HAIRS = ((30, 24, 20), (70, 48, 32), (130, 100, 62), (150, 148, 146), (52, 40, 44))
LEAVES = ((70, 98, 44), (54, 80, 46), (92, 108, 52), (82, 92, 62), (120, 104, 50))


@dataclasses.dataclass(frozen=True)
class Side:
    """One side of the road, as distances from the kerb outwards, in metres."""

    sign: int  # -1 left, +1 right
    strip: float  # grass between kerb and sidewalk, 0 for none
    sidewalk: float  # the sidewalk's width
    garden: float  # ground between sidewalk and buildings
    style: str  # "row", "garden" or "park"

    def line(self, half_road: float) -> float:
        """Distance of the sidewalk's outer edge from the road's centre, in metres."""
        return half_road + self.strip + self.sidewalk


@dataclasses.dataclass(frozen=True)
class Thing:
    """Something that stands on the ground, drawn in the order of its distance."""

    z: float
    draw: Callable[["Painter"], None]
    s: float = 0.0
    shadow: Tuple[float, float, float] = (0.0, 0.0, 0.0)  # half width, length, height


@dataclasses.dataclass
class World:
    """What is seen, from where, in which light; lengths in metres."""

    half_road: float
    bend: float  # curvature, 1/m
    sides: Tuple[Side, Side]
    crossing: float  # distance of the crossing street, beyond FAR for none
    eye: Tuple[float, float]  # camera's s and y
    focal: float  # in image widths
    vanishing: Tuple[float, float]  # in image widths and heights
    roll: float  # radians
    sun: Tuple[float, float, float]  # unit vector towards the sun (s, y, z)
    ambient: float  # light in the shade, fraction of the light in the sun
    haze: Tuple[float, np.ndarray]  # distance, [3] colour
    overcast: bool
    tile: np.ndarray  # [256, 256] float32 noise that repeats, about N(0, 1)
    blobs: np.ndarray  # the same, smooth over eight cells
    things: List[Thing] = dataclasses.field(default_factory=list)


def smooth_noise(rng, shape, cells) -> np.ndarray:
    """Smooth noise of about unit variance, [H, W] float32, `cells` (y, x) across."""
    coarse = rng.standard_normal((cells[0] + 1, cells[1] + 1), dtype=np.float32)
    size = (shape[1], shape[0])
    return np.asarray(Image.fromarray(coarse).resize(size, Image.BICUBIC)) * 1.4


def repeating_noise(rng, cells: int) -> np.ndarray:
    """Noise of `cells` bumps a side that repeats, [256, 256] float32, variance 1."""
    coarse = rng.standard_normal((cells, cells), dtype=np.float32)
    coarse = np.pad(coarse, 4, "wrap")
    step = 256 // cells
    size = 256 + 8 * step
    fine = np.asarray(Image.fromarray(coarse).resize((size, size), Image.BICUBIC))
    fine = fine[4 * step : -4 * step, 4 * step : -4 * step]
    return fine / fine.std()


def choice(rng, table) -> np.ndarray:
    """One row of a colour table, varied a little, [3] float32."""
    colour = np.asarray(table[rng.integers(len(table))], np.float32)
    return colour * np.float32(rng.uniform(0.85, 1.12))


def part(x: np.ndarray) -> np.ndarray:
    """The fractional part, several times faster than `x % 1`."""
    return x - np.floor(x)


def tint(grey: float, *factors: float) -> np.ndarray:
    """A grey with each channel scaled, [3] float32."""
    return np.float32(grey) * np.asarray(factors, np.float32)


class Painter:
    """A canvas, its label map, and the camera that looks at the world."""

    def __init__(self, world: World, size: Tuple[int, int]):
        height, width = (side * SUPERSAMPLING for side in size)
        self.world, self.shape = world, (height, width)
        self.focal = world.focal * width
        self.centre = world.vanishing[0] * width, world.vanishing[1] * height
        self.cos, self.sin = math.cos(world.roll), math.sin(world.roll)
        x = (np.arange(width, dtype=np.float32) + 0.5 - self.centre[0]) / self.focal
        y = (np.arange(height, dtype=np.float32) + 0.5 - self.centre[1]) / self.focal
        # The ray of each pixel: X / Z to the right, (eye - Y) / Z downwards.
        self.right = np.float32(self.cos) * x + np.float32(self.sin) * y[:, None]
        self.down = np.float32(-self.sin) * x + np.float32(self.cos) * y[:, None]

    def start(self, image: np.ndarray, label: np.ndarray) -> None:
        """Takes the ground and the sky, at any size, as the canvas to draw on."""
        size = self.shape[::-1]
        self.image = Image.fromarray(image).resize(size, Image.BILINEAR)
        self.label = Image.fromarray(label).resize(size, Image.NEAREST)
        self.pens = ImageDraw.Draw(self.image), ImageDraw.Draw(self.label)

    def offset(self, z):
        """Where the road's centre line lies at z, in metres right of the camera."""
        return 0.5 * self.world.bend * np.minimum(z, FAR) ** 2 - self.world.eye[0]

    def project(self, points) -> List[Tuple[float, float]]:
        """Projects (s, y, z) points in metres to canvas pixels (x, y)."""
        # Plain Python: most shapes have four corners, too few for NumPy to pay.
        pixels, half_bend, (eye_s, eye_y) = [], 0.5 * self.world.bend, self.world.eye
        for s, y, z in points:
            scale = self.focal / z
            right = (s - eye_s + half_bend * min(z, FAR) ** 2) * scale
            down = (eye_y - y) * scale
            x = self.centre[0] + self.cos * right - self.sin * down
            pixels.append((x, self.centre[1] + self.sin * right + self.cos * down))
        return pixels

    def shade(self, normal) -> float:
        """Light on a surface with this normal, 1 for one that faces the sun."""
        lit = max(0.0, sum(n * sun for n, sun in zip(normal, self.world.sun)))
        return self.world.ambient + (1.0 - self.world.ambient) * lit

    def through_air(self, colour, z):
        """Colours [..., 3] as seen through z metres of haze."""
        distance, haze = self.world.haze
        clear = np.exp(np.asarray(z, np.float32) / np.float32(-distance))[..., None]
        seen = colour - haze
        seen *= clear
        seen += haze
        return seen

    def ink(self, colour, z: float, light: float = 1.0) -> Tuple[int, int, int]:
        """One [3] colour in this light, as seen through z metres of haze, for a pen."""
        distance, haze = self.world.haze
        clear = math.exp(-z / distance)
        levels = (haze + (light * colour - haze) * clear + 0.5).tolist()
        return tuple([min(255, max(0, int(level))) for level in levels])

    def sees(self, thing: Thing) -> bool:
        """Whether a thing may reach into the picture."""
        if not thing.shadow[0]:  # only what stands free has a known size
            return True
        margin = 4.5 * self.focal / thing.z
        x = self.project([(thing.s, 0.0, thing.z)])[0][0]
        return -margin < x < self.shape[1] + margin

    def polygon(self, points, colour, cls: int, light: float = 1.0) -> None:
        """Fills the polygon with corners (s, y, z) in metres."""
        depths = [z for _, _, z in points]
        if min(depths) < NEAR:
            return
        corners = self.project(points)
        fill = self.ink(np.asarray(colour), sum(depths) / len(depths), light)
        self.pens[0].polygon(corners, fill)
        self.pens[1].polygon(corners, cls)

    def limb(self, ends, width: float, colour, cls: int, light: float = 1.0) -> None:
        """Strokes through (s, y, z) points with round ends; the width in metres."""
        z = float(ends[0][2])
        pixels = self.project(ends)
        thick = max(1.0, width * self.focal / z)
        fill = self.ink(np.asarray(colour), z, light)
        for pen, value in zip(self.pens, (fill, cls)):
            pen.line(pixels, value, int(round(thick)))
            for x, y in pixels if thick > 4 else ():
                r = thick / 2 - 0.5
                pen.ellipse((x - r, y - r, x + r, y + r), value)

    @staticmethod
    def look_up(tile, rows, columns, scale: float) -> np.ndarray:
        """The noise of a repeating tile at metres, `scale` of its cells per metre."""
        rows, columns = ((m * scale).astype(np.int32) & 255 for m in (rows, columns))
        return tile[rows, columns]

    def window(self, points, margin: float = 1.0):
        """The canvas slices around projected (s, y, z) points, None if outside."""
        slices = []
        for pixels, size in zip(zip(*self.project(points)), self.shape[::-1]):
            low = max(0, int(min(pixels) - margin))
            high = min(size, int(max(pixels) + margin))
            if high <= low:
                return None
            slices.append(slice(low, high))
        return slices[1], slices[0]

    def paste(self, where, colours, seen, mask, cls: int) -> None:
        """Pastes [N, 3] colours on the N pixels `seen`, the class where `mask`."""
        corner = where[1].start, where[0].start
        patch = np.zeros(seen.shape + (3,), np.uint8)
        patch[seen] = np.clip(colours, 0, 255)
        stencil = Image.fromarray(seen.astype(np.uint8) * 255)
        self.image.paste(Image.fromarray(patch), corner, stencil)
        if mask is not seen:
            stencil = Image.fromarray(mask.astype(np.uint8) * 255)
        self.label.paste(cls, corner + (where[1].stop, where[0].stop), stencil)

    def wall(self, ends, heights, paint, cls: int, normal) -> None:
        """A vertical wall between two ground points (s, z), painted by ray casting.

        From the lowest to the highest y, in metres, facing `normal`, by `paint`: a
        function of (metres along, metres up, distance), each [N], to colours [N, 3].
        """
        (s0, z0), (s1, z1) = ends
        if max(z0, z1) < NEAR:
            return
        x0, x1 = s0 + self.offset(z0), s1 + self.offset(z1)
        length = float(np.hypot(x1 - x0, z1 - z0))
        cut = [max(z, NEAR) for z in (z0, z1)]
        box = [(s, y, z) for s, z in zip((s0, s1), cut) for y in heights]
        where = self.window(box)
        if where is None:
            return
        right, down = self.right[where], self.down[where]
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (right * z0 - x0) / ((x1 - x0) - right * (z1 - z0))
        z = z0 + t * (z1 - z0)
        up = self.world.eye[1] - down * z
        mask = (t >= 0) & (t <= 1) & (up >= heights[0]) & (up <= heights[1])
        mask &= z > NEAR
        if mask.any():
            t, z, up = t[mask], z[mask], up[mask]
            colours = paint(t * length, up, z) * self.shade(normal)
            self.paste(where, self.through_air(colours, z), mask, mask, cls)
