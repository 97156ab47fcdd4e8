"""Draws street scenes with their label maps: the embedded default data.

THESE ARE DRAWINGS, NOT CITYSCAPES, and no photograph or label of any data set is
in them. They only speak Cityscapes' language (19 train ids, 255 ignored), so that
the main job runs on a machine that has no data. Numbers measured on them say
nothing about real streets and must never be reported beside numbers on Cityscapes.

A scene is a small world in metres (a bent road between sidewalks, buildings,
gardens, trees, vehicles and persons), sampled from (seed, index) and seen by a
pinhole camera. The ground and the facades are found by intersecting each pixel's
ray with their planes, everything else is projected and drawn, far to near, on a
canvas of twice the size. All sizes show the same world.

Road coordinates: s metres to the right of the road's centre line, y metres above
the ground, z metres ahead of the camera.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import sys
from typing import Callable, List, Tuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

FINGERPRINT = "street-scenes-1"  # changes whenever the same seed draws other pixels

ROAD, SIDEWALK, BUILDING, WALL, FENCE, POLE, LIGHT, SIGN = range(8)
VEGETATION, TERRAIN, SKY, PERSON, RIDER, CAR, TRUCK, BUS = range(8, 16)
BICYCLE, IGNORED = 18, 255

_SUPERSAMPLING = 2
_FAR = 160.0  # metres: where the ground ends and the bend stops growing
_NEAR = 0.6  # metres: nothing nearer is drawn
_DETAIL = 16.0  # canvas pixels per metre below which hands, shoes, wheels are left out

# Walls, cars and clothes share most of their hues on purpose: colour alone must
# not tell the classes apart.
_FACADES = (
    (196, 178, 140), (178, 170, 160), (150, 82, 66), (214, 206, 192), (120, 116, 112),
    (190, 150, 96), (168, 120, 100), (140, 150, 160), (226, 220, 210), (96, 90, 88),
)  # fmt: skip
_PAINTS = (
    (28, 29, 32), (58, 60, 64), (96, 98, 102), (150, 152, 156), (206, 208, 210),
    (232, 232, 230), (126, 24, 26), (30, 46, 92), (44, 82, 120), (34, 62, 44),
    (172, 156, 128), (110, 70, 50), (188, 52, 36), (74, 78, 84),
)  # fmt: skip
_CLOTHES = _PAINTS + (
    (24, 24, 30), (44, 48, 70), (70, 74, 90), (160, 44, 60), (210, 180, 60),
    (90, 110, 80), (120, 80, 130), (200, 190, 180), (60, 100, 150), (84, 62, 48),
)  # fmt: skip
_SKINS = ((226, 184, 156), (198, 150, 118), (150, 104, 76), (96, 64, 48))
_HAIRS = ((30, 24, 20), (70, 48, 32), (130, 100, 62), (150, 148, 146), (52, 40, 44))
_LEAVES = ((70, 98, 44), (54, 80, 46), (92, 108, 52), (82, 92, 62), (120, 104, 50))

_CIRCLE = [(math.cos(a * math.pi / 8), math.sin(a * math.pi / 8)) for a in range(16)]
_GAPS, _JOINTS = np.float32([(0.75, 0.4), (0.66, 0.82)])  # fences' and walls' light

# Grain that the final image gets per class (fraction of the brightness).
_GRAIN = np.full(256, 0.04, np.float32)
_GRAIN[[ROAD, SIDEWALK, BUILDING, WALL]] = 0.07, 0.07, 0.05, 0.08
_GRAIN[[VEGETATION, TERRAIN, SKY, PERSON]] = 0.13, 0.14, 0.01, 0.06


@dataclasses.dataclass(frozen=True)
class _Side:
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
class _Thing:
    """Something that stands on the ground, drawn in the order of its distance."""

    z: float
    draw: Callable[["_Painter"], None]
    s: float = 0.0
    shadow: Tuple[float, float, float] = (0.0, 0.0, 0.0)  # half width, length, height


@dataclasses.dataclass
class _World:
    """What is seen, from where, in which light; lengths in metres."""

    half_road: float
    bend: float  # curvature, 1/m
    sides: Tuple[_Side, _Side]
    crossing: float  # distance of the crossing street, beyond _FAR for none
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
    things: List[_Thing] = dataclasses.field(default_factory=list)


def _smooth_noise(rng, shape, cells) -> np.ndarray:
    """Smooth noise of about unit variance, [H, W] float32, `cells` (y, x) across."""
    coarse = rng.standard_normal((cells[0] + 1, cells[1] + 1), dtype=np.float32)
    size = (shape[1], shape[0])
    return np.asarray(Image.fromarray(coarse).resize(size, Image.BICUBIC)) * 1.4


def _repeating_noise(rng, cells: int) -> np.ndarray:
    """Noise of `cells` bumps a side that repeats, [256, 256] float32, variance 1."""
    coarse = rng.standard_normal((cells, cells), dtype=np.float32)
    coarse = np.pad(coarse, 4, "wrap")
    step = 256 // cells
    size = 256 + 8 * step
    fine = np.asarray(Image.fromarray(coarse).resize((size, size), Image.BICUBIC))
    fine = fine[4 * step : -4 * step, 4 * step : -4 * step]
    return fine / fine.std()


def _choice(rng, table) -> np.ndarray:
    """One row of a colour table, varied a little, [3] float32."""
    colour = np.asarray(table[rng.integers(len(table))], np.float32)
    return colour * np.float32(rng.uniform(0.85, 1.12))


def _part(x: np.ndarray) -> np.ndarray:
    """The fractional part, several times faster than `x % 1`."""
    return x - np.floor(x)


def _tint(grey: float, *factors: float) -> np.ndarray:
    """A grey with each channel scaled, [3] float32."""
    return np.float32(grey) * np.asarray(factors, np.float32)


class _Painter:
    """A canvas, its label map, and the camera that looks at the world."""

    def __init__(self, world: _World, size: Tuple[int, int]):
        height, width = (side * _SUPERSAMPLING for side in size)
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
        return 0.5 * self.world.bend * np.minimum(z, _FAR) ** 2 - self.world.eye[0]

    def project(self, points) -> List[Tuple[float, float]]:
        """Projects (s, y, z) points in metres to canvas pixels (x, y)."""
        # Plain Python: most shapes have four corners, too few for NumPy to pay.
        pixels, half_bend, (eye_s, eye_y) = [], 0.5 * self.world.bend, self.world.eye
        for s, y, z in points:
            scale = self.focal / z
            right = (s - eye_s + half_bend * min(z, _FAR) ** 2) * scale
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
        red, green, blue = (haze + (light * colour - haze) * clear + 0.5).tolist()
        return (
            min(255, max(0, int(red))),
            min(255, max(0, int(green))),
            min(255, max(0, int(blue))),
        )

    def sees(self, thing: _Thing) -> bool:
        """Whether a thing may reach into the picture."""
        if not thing.shadow[0]:  # only what stands free has a known size
            return True
        margin = 4.5 * self.focal / thing.z
        x = self.project([(thing.s, 0.0, thing.z)])[0][0]
        return -margin < x < self.shape[1] + margin

    def polygon(self, points, colour, cls: int, light: float = 1.0) -> None:
        """Fills the polygon with corners (s, y, z) in metres."""
        depths = [z for _, _, z in points]
        if min(depths) < _NEAR:
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
        """A vertical wall between two ground points, painted by ray casting.

        Args:
          ends: two points (s, z) in metres.
          heights: lowest and highest y in metres.
          paint: function of (metres along, metres up, distance), each [N], to
            colours [N, 3].
          cls: the wall's class.
          normal: [3] the direction that the wall faces.
        """
        (s0, z0), (s1, z1) = ends
        if max(z0, z1) < _NEAR:
            return
        x0, x1 = s0 + self.offset(z0), s1 + self.offset(z1)
        length = float(np.hypot(x1 - x0, z1 - z0))
        cut = [max(z, _NEAR) for z in (z0, z1)]
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
        mask &= z > _NEAR
        if mask.any():
            t, z, up = t[mask], z[mask], up[mask]
            colours = paint(t * length, up, z) * self.shade(normal)
            self.paste(where, self.through_air(colours, z), mask, mask, cls)


# Things. Each takes the painter, where it stands, and the seed of its looks.


def _foliage(painter: _Painter, s, y, z, radius, seed, lift=0.0) -> None:
    """A crown or bush about (s, y) with radii (across, up) in metres."""
    rng = np.random.default_rng(seed)
    leaf = _choice(rng, _LEAVES)
    lobes = rng.uniform(-0.62, 0.62, (7, 2)), rng.uniform(0.36, 0.62, 7)
    lobes[0][0] = 0.0, -0.5  # where the trunk ends
    ragged, shift = rng.uniform(0.12, 0.3), rng.uniform(0, 9, 2)
    corners = [(s - radius[0], y - radius[1], z), (s + radius[0], y + radius[1], z)]
    where = painter.window(corners, 4.0)
    if where is None:
        return
    across = (painter.right[where] * z - painter.offset(z) - s) / radius[0]
    up = (painter.world.eye[1] - painter.down[where] * z - y) / radius[1]
    solid = np.full(across.shape, -1.0, np.float32)
    for (cx, cy), r in zip(*lobes):
        np.maximum(solid, 1 - ((across - cx) ** 2 + (up - cy) ** 2) / r**2, out=solid)
    # Clusters of leaves are 0.3 m wide; single leaves at least a pixel.
    metres = up * radius[1] + shift[0], across * radius[0] + shift[1]
    clusters = painter.look_up(painter.world.blobs, *metres, 26)
    finest = min(20.0, painter.focal / (2.5 * z))
    leaves = painter.look_up(painter.world.tile, *metres[::-1], finest)
    mask = (solid + ragged * clusters > 0.05) & (up > lift - 1)
    seen = (solid + ragged * (clusters + leaves) > 0.1) & (up > lift - 1)
    # Lit from above and from the sun's side, dark in the gaps between clusters.
    light = 0.72 + 0.2 * up + 0.16 * across * painter.world.sun[0]
    light += 0.13 * clusters + 0.13 * leaves + 0.12 * np.minimum(solid, 0.5)
    colours = leaf * np.clip(light[seen], 0.2, 1.5)[:, None]
    painter.paste(where, painter.through_air(colours, z), seen, mask, VEGETATION)


def _tree(painter: _Painter, s, z, seed) -> None:
    rng = np.random.default_rng(seed)
    height, bark = rng.uniform(4.5, 10.0), _choice(rng, ((86, 72, 58), (60, 52, 46)))
    wide, trunk = height * rng.uniform(0.2, 0.36), height * rng.uniform(0.25, 0.42)
    lean = rng.uniform(-0.2, 0.2)
    ends = [(s, 0, z), (s + lean, trunk + 0.5, z)]
    painter.limb(ends, 0.05 * height * rng.uniform(0.6, 1.1), bark, VEGETATION, 0.8)
    radius = wide, (height - trunk) / 2
    _foliage(painter, s + lean, trunk + radius[1] * 0.95, z, radius, seed + 1)


def _bush(painter: _Painter, s, z, seed) -> None:
    rng = np.random.default_rng(seed)
    radius = rng.uniform(0.7, 2.6), rng.uniform(0.45, 1.3)
    _foliage(painter, s, radius[1] * 0.5, z, radius, seed + 1, lift=0.5)


def _hedge_paint(painter, leaf, along, up):
    fine = painter.look_up(painter.world.tile, up, along, 16)
    coarse = painter.look_up(painter.world.blobs, up, along, 26)
    return leaf * np.clip(0.75 + 0.2 * fine + 0.15 * coarse, 0.2, 1.5)[..., None]


def _barrier(painter: _Painter, s, z, seed, kind, length, sign) -> None:
    """A piece of fence, wall or hedge along the sidewalk, its far end at z."""
    rng = np.random.default_rng(seed)
    colour = _choice(rng, _LEAVES if kind == VEGETATION else _FACADES)
    top = {FENCE: 1.3, WALL: 1.6, VEGETATION: 1.5}[kind] * rng.uniform(0.7, 1.3)

    def paint(along, up, distance):
        if kind == VEGETATION:
            return _hedge_paint(painter, colour, along, up)
        if kind == FENCE:
            rail = np.minimum(np.abs(up - 0.25), np.abs(up - top + 0.2)) < 0.06
            bars = rail | (along % 0.22 < 0.1)
            return colour * np.where(bars, *_GAPS)[..., None]
        joint = (up % 0.3 < 0.04) | ((along + 0.3 * (up // 0.3)) % 0.6 < 0.04)
        return colour * np.where(joint, *_JOINTS)[..., None]

    ends, normal = ((s, z - length), (s, z)), (-sign, 0, 0)
    painter.wall(ends, (0.0, top), paint, kind, normal)


def _building(painter: _Painter, s, z, seed, length, sign, height, joined) -> None:
    """A building with its front at s and its far end at z.

    The gable towards the camera is left out where the building is `joined` to one
    that hides it.
    """
    rng = np.random.default_rng(seed)
    colour, trim = _choice(rng, _FACADES), _choice(rng, _FACADES)
    shop = rng.random() < 0.4
    floor = rng.uniform(2.8, 3.6)
    bay, pane = rng.uniform(1.9, 4.0), rng.uniform(0.2, 0.36, 2).tolist()
    shop_pane = np.float32([(0.44, pane[0]), (0.4, pane[1])])
    blinds = rng.uniform(0.25, 1.0, 997).astype(np.float32) ** 2
    glass, brick = _tint(rng.uniform(50, 110), 1, 1.14, 1.33), rng.random() < 0.4

    def paint(along, up, distance):
        story, column = up / floor, along / bay
        row, height_in, along_in = story.astype(int), _part(story), _part(column)
        near = np.clip(1.2 - distance / 70, 0.15, 1)
        across, rise = np.abs(along_in - 0.5), np.abs(height_in - 0.55)
        wide, tall = pane
        if shop:
            wide, tall = (np.where(row == 0, *panes) for panes in shop_pane)
        window = (across < wide) & (rise < tall) & (up < height - 0.7)
        window &= (across > 0.02) & (np.abs(rise - 0.4 * tall) > 0.015)
        frame = (across < wide + 0.04) & (rise < tall + 0.04) & (up < height - 0.6)
        light = 1.0 - 0.16 * near * ((height_in < 0.05) | (along < 0.15))
        if brick:
            course, brick_along = up / 0.16, along / 0.32
            stagger = _part(brick_along + 0.5 * (course.astype(int) & 1)) < 0.15
            light -= 0.13 * near * ((_part(course) < 0.3) | stagger)
        dirt = painter.look_up(painter.world.blobs, up, along, 12)
        result = colour * (light + 0.035 * dirt)[:, None]
        result[frame] = trim * np.float32(0.9)
        pick = row[window] * 31 + column[window].astype(int) * 17
        shine = 0.45 + 0.9 * blinds[pick % 997] + 0.25 * rise[window]
        result[window] = glass * shine[:, None]
        return result

    roof, back = _choice(rng, ((112, 62, 50), (70, 68, 72))), s + sign * 11
    if height < 11:
        ridge, tip = s + sign * 5, height * 1.32
        slope = [(s, height, max(z - length, _NEAR)), (s, height, z)]
        slope += [(ridge, tip, z), (ridge, tip, max(z - length, _NEAR))]
        painter.polygon(slope, roof, BUILDING, painter.shade((-0.6 * sign, 0.8, 0)))
        gable = [(s, height, z - length), (ridge, tip, z - length)]
        gable += [(back, height, z - length)]
        painter.polygon(gable, colour, BUILDING, painter.shade((0, 0, -1)))
    face = functools.partial(painter.wall, heights=(0.0, height), cls=BUILDING)
    if not joined:
        face(((s, z - length), (back, z - length)), paint=paint, normal=(0, 0, -1))
    face(((s, z - length), (s, z)), paint=paint, normal=(-sign, 0, 0))


def _prism(painter: _Painter, at, heading, profile, colours, cls) -> None:
    """A convex profile of (lengthwise, up, half width) points as a closed solid.

    Args:
      at: (s, z) of its centre.
      heading: radians, 0 looks ahead, positive to the right.
      profile: metres, from the lower back over the top to the lower front.
      colours: one for each face between two points, then the flanks' one.
    """
    sin, cos = math.sin(heading), math.cos(heading)
    left, right = [], []
    for length, up, half in profile:
        s, z = at[0] + length * sin, at[1] + length * cos
        left.append((s - half * cos, up, z + half * sin))
        right.append((s + half * cos, up, z - half * sin))
    faces = [(left[::-1], (-cos, 0.0, sin), colours[-1])]
    faces.append((right, (cos, 0.0, -sin), colours[-1]))
    for i, (here, there) in enumerate(zip(profile, profile[1:])):
        along, rise = there[0] - here[0], there[1] - here[1]
        size = math.hypot(along, rise)
        normal = -rise * sin / size, along / size, -rise * cos / size
        corners = [left[i], left[i + 1], right[i + 1], right[i]]
        faces.append((corners, normal, colours[i]))
    for corners, normal, colour in faces:
        if min(z for _, _, z in corners) < _NEAR:
            continue
        pixels = painter.project(corners)
        turned = zip(pixels, pixels[1:] + pixels[:1])
        if sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in turned) > 0:  # faces us
            painter.polygon(corners, colour, cls, painter.shade(normal))


def _on_side(at, heading, half, points):
    """Points (lengthwise, up) on a vehicle's flank, half > 0 the right one."""
    sin, cos = math.sin(heading), math.cos(heading)
    return [
        (at[0] + length * sin + half * cos, up, at[1] + length * cos - half * sin)
        for length, up in points
    ]


def _flank(painter: _Painter, at, heading, half):
    """The half width, signed, of the flank that the camera sees."""
    eye = -painter.offset(at[1])
    across = (eye - at[0]) * math.cos(heading) + at[1] * math.sin(heading)
    return half if across > 0 else -half


def _wheels(painter: _Painter, at, heading, half, axles, radius, cls) -> None:
    near = _flank(painter, at, heading, half * 1.01)
    for axle in axles:
        for scale, colour in ((1.2, (18,) * 3), (1.0, (34,) * 3), (0.6, (120,) * 3)):
            ring = [
                (axle + scale * radius * x, max(0.0, radius + scale * radius * y))
                for x, y in _CIRCLE
            ]
            painter.polygon(_on_side(at, heading, near, ring), colour, cls, 0.9)


def _lamps(painter: _Painter, at, heading, length, half, height, cls) -> None:
    """Lamps, bumper and plate on the end that faces the camera, if one does."""
    eye = -painter.offset(at[1])
    ahead = (eye - at[0]) * math.sin(heading) - at[1] * math.cos(heading)
    if abs(ahead) < length / 2:
        return
    front = ahead > 0
    end = (length if front else -length) / 2 * 1.005
    lamp = (240, 238, 220) if front else (170, 26, 22)

    def box(low, high, bottom, top):
        flat = [(low, bottom), (high, bottom), (high, top), (low, top)]
        return [_on_side(at, heading, w, [(end, y)])[0] for w, y in flat]

    painter.polygon(box(-half, half, 0.25, height * 0.3), (30, 31, 33), cls)
    painter.polygon(box(-0.26, 0.26, height * 0.3, height * 0.37), (214,) * 3, cls)
    for side in (-1, 1):
        inner, outer = sorted((side * half * 0.6, side * half * 0.96))
        painter.polygon(box(inner, outer, height * 0.42, height * 0.52), lamp, cls)


def _car(painter: _Painter, s, z, seed, heading) -> None:
    rng = np.random.default_rng(seed)
    kind = rng.integers(4)  # hatchback, saloon, estate or SUV, van
    long = (3.9, 4.6, 4.5, 4.9)[kind] * rng.uniform(0.94, 1.06)
    high = (1.46, 1.43, 1.62, 1.95)[kind] * rng.uniform(0.96, 1.05)
    hood, boot = ((0.95, 0.25), (1.15, 0.85), (1.1, 0.15), (0.7, 0.1))[kind]
    half, belt, clear = rng.uniform(0.84, 0.93), 0.6 * high, 0.22
    paint, at, e = _choice(rng, _PAINTS), (s, z), long / 2
    glass = np.array((46, 56, 66)) * rng.uniform(0.5, 1.8)
    body = [(-e, clear, half), (-e, 0.8 * belt, half), (-e + 0.1, belt, half * 0.97)]
    body += [(e - hood, belt, half * 0.97), (e - 0.12, 0.84 * belt, half * 0.95)]
    body += [(e, 0.62 * belt, half), (e, clear, half)]
    _prism(painter, at, heading, body, [paint] * 6 + [paint * 0.92], CAR)
    near = _flank(painter, at, heading, half * 1.005)
    sill = [(-e, clear), (e, clear), (e, clear + 0.16), (-e, clear + 0.16)]
    painter.polygon(_on_side(at, heading, near, sill), paint * 0.45, CAR)
    roof = -e + boot + (0.45, 0.45, 0.2, 0.2)[kind], e - hood - (
        0.5 + 0.25 * (kind < 3)
    )
    cabin = [(-e + boot, belt, half * 0.96), (roof[0], high, half * 0.78)]
    cabin += [(roof[1], high, half * 0.78), (e - hood, belt, half * 0.94)]
    _prism(painter, at, heading, cabin, [glass, paint, glass * 1.2, glass], CAR)
    top = near * 0.79
    bars = [(-e + boot, roof[0]), (0.1, 0.05), (e - hood, roof[1])]
    for low, tip in bars:
        ends = [_on_side(at, heading, near * 0.97, [(low, belt)])[0]]
        ends += [_on_side(at, heading, top, [(tip, high)])[0]]
        if min(ends[0][2], ends[1][2]) > _NEAR:
            painter.limb(ends, 0.09, paint, CAR, 0.85)
    if painter.focal / z > _DETAIL:
        _lamps(painter, at, heading, long, half, high, CAR)
        _wheels(painter, at, heading, half, (-0.31 * long, 0.31 * long), 0.31, CAR)


def _large_vehicle(painter: _Painter, s, z, seed, heading) -> None:
    """A bus, or a truck of a cab and a box."""
    rng = np.random.default_rng(seed)
    is_bus, paint, at = rng.random() < 0.45, _choice(rng, _PAINTS), (s, z)
    cls, half = (BUS if is_bus else TRUCK), rng.uniform(1.1, 1.25)
    long, high = rng.uniform(6.5, 10.0), rng.uniform(2.8, 3.5)
    e, glass = long / 2, np.array((40, 48, 58)) * rng.uniform(0.7, 1.5)
    split = -e if is_bus else e - 2.1
    box = _choice(rng, _PAINTS)
    if not is_bus:
        load = [(-e, 0.7, half), (-e, high, half), (split - 0.2, high, half)]
        load += [(split - 0.2, 0.7, half)]
        _prism(painter, at, heading, load, [box] * 4, cls)
        high *= 0.84
    cab = [(split, 0.4, half), (split, high, half), (e - 0.2, high, half)]
    cab += [(e, 0.5 * high, half), (e, 0.4, half)]
    _prism(painter, at, heading, cab, [paint, paint, glass, paint, paint], cls)
    near = _flank(painter, at, heading, half * 1.005)
    panes = np.arange(split + 0.4, e - 0.9, 1.3) if is_bus else [e - 1.4]
    for low in panes:
        pane = [(low, 0.5 * high), (low + 1.1, 0.5 * high)]
        pane += [(low + 1.1, 0.85 * high), (low, 0.85 * high)]
        painter.polygon(_on_side(at, heading, near, pane), glass, cls)
    if is_bus and math.cos(heading) > 0:
        rear = ((-0.8, 0.55), (0.8, 0.55), (0.8, 0.9), (-0.8, 0.9))
        corners = [
            _on_side(at, heading, x * half, [(-e * 1.005, y * high)])[0]
            for x, y in rear
        ]
        painter.polygon(corners, glass, cls)
    _lamps(painter, at, heading, long, half, 1.7, cls)
    _wheels(painter, at, heading, half, (-0.3 * long, 0.33 * long), 0.45, cls)


def _person(painter: _Painter, s, z, seed, cls=PERSON, lift=0.0, pedal=False) -> None:
    """A standing, walking or (pedal) cycling person, lifted by some metres."""
    rng = np.random.default_rng(seed)
    tall = rng.uniform(1.58, 1.95) if rng.random() < 0.88 else rng.uniform(1.1, 1.4)
    k = tall / 1.75  # the figure below is 1.75 m tall
    wide = rng.uniform(0.65, 1.1)  # seen from the side, or from front or back
    coat, trousers, shoe, bag = (_choice(rng, _CLOTHES) for _ in range(4))
    skin, hair = _choice(rng, _SKINS), _choice(rng, _HAIRS)
    stride = rng.uniform(-0.26, 0.26) * (rng.random() < 0.75)
    swing, hem = rng.uniform(-0.3, 0.3), rng.choice((0.84, 0.84, 0.84, 0.7, 0.5))
    light = painter.shade((math.copysign(0.6, -s), 0.3, -0.7))
    dark = -math.copysign(1.0, painter.world.sun[0])  # the side in the shade
    near = painter.focal / z > _DETAIL

    def place(points):
        return [(s + x * wide * k, lift + y * k, z) for x, y in points]

    def limb(points, width, colour, shade=1.0):
        painter.limb(place(points), width * k, colour, cls, light * shade)

    for side in (-1, 1):
        foot = side * (0.1 + stride), 0.06 + (0.1 + 0.16 * side * stride) * pedal
        knee = 0.5 * foot[0] + 0.05 * side, 0.5 + 0.1 * pedal
        hip, shade = (0.09 * side, 0.9), 0.9 - 0.1 * side * dark
        limb([hip, knee, foot], 0.155, trousers, shade)
        if near:
            limb([foot, (foot[0] + 0.09, foot[1] - 0.03)], 0.1, shoe)
    chest = [(-0.22, 1.4), (-0.1, 1.49), (0.1, 1.49), (0.22, 1.4), (0.17, 1.05)]
    chest += [(0.2, hem), (-0.2, hem), (-0.17, 1.05)]
    half = [(0, 1.49), (0.22 * dark, 1.4), (0.17 * dark, 1.05)]
    half += [(0.2 * dark, hem), (0, hem)]
    painter.polygon(place(chest), coat, cls, light)
    painter.polygon(place(half), coat, cls, light * 0.8)
    for side in (-1, 1):
        elbow, hand = side * (0.27 + swing / 2), side * (0.2 + swing)
        arm = [(0.21 * side, 1.36), (elbow, 1.1), (hand, 0.86)]
        limb(arm, 0.1, coat, 0.9 - 0.1 * side * dark)
        if near:
            limb([(hand, 0.85), (hand * 1.05, 0.81)], 0.09, skin)
    if rng.random() < 0.4:
        x = 0.24 * rng.choice((-1, 1))
        limb([(x, 0.95), (x * 1.05, 1.2)], rng.uniform(0.16, 0.3), bag)
    limb([(0, 1.46), (0, 1.56)], 0.11, skin, 0.85)
    limb([(0, 1.6), (0, 1.66)], 0.185, skin)
    limb([(-0.02, 1.69), (0.02, 1.71)], 0.19, hair)


def _cyclist(painter: _Painter, s, z, seed, parked=False) -> None:
    rng = np.random.default_rng(seed)
    narrow, colour = rng.uniform(0.12, 0.9), _choice(rng, _PAINTS)
    tyre = (26, 26, 28)
    for side in (-0.52, 0.52):
        rim = [(side + 0.34 * x, 0.34 + 0.34 * y) for x, y in _CIRCLE + _CIRCLE[:1]]
        painter.limb([(s + narrow * x, y, z) for x, y in rim], 0.06, tyre, BICYCLE)
    frame = [(-0.52, 0.34), (-0.15, 0.85), (0.42, 0.88), (0.0, 0.36), (-0.15, 0.85)]
    frame += [(-0.15, 0.95), (-0.15, 0.85), (0.42, 0.88), (0.52, 0.34), (0.38, 1.05)]
    painter.limb([(s + narrow * x, y, z) for x, y in frame], 0.05, colour, BICYCLE)
    if not parked:
        _person(painter, s - 0.1 * narrow, z, seed, RIDER, lift=0.12, pedal=True)


def _pole(painter: _Painter, s, z, seed, kind) -> None:
    """A street lamp (POLE), a traffic sign or a traffic light on its pole."""
    rng = np.random.default_rng(seed)
    grey, inward = rng.uniform(60, 150) * np.ones(3), -np.sign(s)
    if kind == POLE:
        tall, arm = rng.uniform(5, 8), rng.uniform(0.6, 1.8) * inward
        ends = [(s, 0, z), (s, tall, z), (s + arm, tall + 0.2, z)]
        painter.limb(ends, 0.13, grey, POLE)
        return
    tall = rng.uniform(2.3, 3.0)
    painter.limb([(s, 0, z), (s, tall, z)], 0.09, grey, POLE)
    if kind == LIGHT:
        low, high = tall - 0.4, tall + 0.55
        box = [(-0.17, low), (0.17, low), (0.17, high), (-0.17, high)]
        painter.polygon([(s + x, y, z) for x, y in box], (26, 28, 28), LIGHT)
        lamp, colour = ((0.4, (230, 40, 30)), (-0.2, (50, 220, 120)))[rng.integers(2)]
        bulb = [(s - 0.01, tall + lamp, z), (s + 0.01, tall + lamp, z)]
        painter.limb(bulb, 0.2, colour, LIGHT, 1.2)
        return
    sides = (3, 4, 16)[rng.integers(3)]
    turns = [2 * math.pi * (i / sides + 0.25) for i in range(sides)]
    turns = [turn + math.pi / 4 * (sides == 4) for turn in turns]
    white, red, blue = (226,) * 3, (190, 30, 34), (40, 80, 170)
    rim, inside = ((red, white), (white, blue))[rng.integers(2)]
    for r, colour in ((0.42, rim), (0.31, inside)):
        disc = [(s + r * math.cos(t), tall + r * math.sin(t), z) for t in turns]
        painter.polygon(disc, colour, SIGN, 0.95)


def _bin(painter: _Painter, s, z, seed) -> None:
    """Street furniture that has no train id: ignored."""
    rng = np.random.default_rng(seed)
    wide, high = rng.uniform(0.2, 0.45), rng.uniform(0.8, 1.3)
    profile = [(-wide, 0, wide), (-wide, high, wide)]
    profile += [(wide, high, wide), (wide, 0, wide)]
    _prism(painter, (s, z), 0.2, profile, [_choice(rng, _PAINTS)] * 4, IGNORED)


# The world.


def _sample_side(rng, sign: int) -> _Side:
    style = rng.choice(("row", "garden", "park"), p=(0.5, 0.3, 0.2))
    return _Side(
        sign=sign,
        strip=rng.uniform(0.8, 2.0) if rng.random() < 0.35 else 0.0,
        sidewalk=rng.uniform(2.2, 5.0),
        garden={"row": 0.0, "garden": rng.uniform(2, 6), "park": 18.0}[style],
        style=style,
    )


def _sample_world(seed: int, index: int) -> _World:
    rng = np.random.default_rng((seed, index, 0))
    overcast = rng.random() < 0.4
    azimuth, rise = rng.uniform(-np.pi, np.pi), rng.uniform(0.35, 1.1)
    sun = np.array((np.sin(azimuth), rise, np.cos(azimuth)))
    sun /= np.linalg.norm(sun)
    fine, middle, blobs = (_repeating_noise(rng, n) for n in (256, 64, 32))
    half_road = rng.uniform(3.2, 5.9)
    world = _World(
        half_road=half_road,
        bend=rng.normal(0, 0.0016),
        sides=(_sample_side(rng, -1), _sample_side(rng, 1)),
        crossing=rng.uniform(14, 50) if rng.random() < 0.3 else 2 * _FAR,
        eye=(rng.uniform(-0.1, 0.62) * half_road, rng.uniform(1.25, 1.75)),
        focal=rng.uniform(0.75, 1.05),
        vanishing=(rng.uniform(0.36, 0.64), rng.uniform(0.36, 0.5)),
        roll=rng.normal(0, 0.012),
        sun=tuple(sun.tolist()),
        ambient=rng.uniform(0.8, 0.92) if overcast else rng.uniform(0.5, 0.7),
        haze=(rng.uniform(120, 700), _tint(rng.uniform(170, 225), 0.97, 1.0, 1.03)),
        overcast=overcast,
        tile=0.7 * (fine + middle),
        blobs=blobs,
    )
    for side in world.sides:
        _add_frontage(world, rng, side)
        _add_furniture(world, rng, side)
        _add_pedestrians(world, rng, side)
    _add_traffic(world, rng)
    return world


def _add(world, rng, draw, s, z, shadow=(0.0, 0.0, 0.0), **looks) -> None:
    """Adds a thing, its looks seeded from the world's."""
    seed = int(rng.integers(2**31))
    call = functools.partial(draw, s=s, z=z, seed=seed, **looks)
    world.things.append(_Thing(z, call, s, shadow))


def _in_crossing(world, z, margin=0.0) -> bool:
    return abs(z - world.crossing) < 5.0 + margin


def _add_frontage(world, rng, side: _Side) -> None:
    """Buildings, what stands before them, and trees in gardens and parks."""
    line = side.line(world.half_road)
    z, neighbour = rng.uniform(-8, 0), 0.0
    while z < 95 and side.style != "park":
        length = rng.uniform(8, 20)
        if z < world.crossing + 6 and z + length > world.crossing - 6:
            z, neighbour = world.crossing + 6.0, 0.0
        s, height = side.sign * (line + side.garden), rng.uniform(5, 20)
        looks = dict(height=height, joined=height <= neighbour, sign=side.sign)
        _add(world, rng, _building, s, z + length, length=length, **looks)
        z, neighbour = z + length, height
        if side.style == "garden" or rng.random() < 0.25:
            z, neighbour = z + rng.uniform(1, 9), 0.0
    fenced = rng.random() < {"row": 0.0, "garden": 0.8, "park": 0.5}[side.style]
    kind = (FENCE, WALL, VEGETATION)[rng.integers(3)]
    for z in np.arange(5.0, 55.0, 6.0) if fenced else ():
        if not _in_crossing(world, z - 3, 4.0):
            looks = dict(kind=kind, length=6.0, sign=side.sign)
            _add(world, rng, _barrier, side.sign * (line + 0.15), z, **looks)
    for _ in range(rng.poisson({"row": 0, "garden": 6, "park": 18}[side.style])):
        z, s = 5 + 75 * rng.random() ** 1.3, line + 1 + side.garden * rng.random()
        if not _in_crossing(world, z, 3.0):
            draw = _tree if rng.random() < 0.65 else _bush
            _add(world, rng, draw, side.sign * s, z, (0.8, 1.0, 5.0))


def _add_furniture(world, rng, side: _Side) -> None:
    """Trees, lamps, signs, lights, bins along the kerb."""
    kerb = world.half_road + 0.4 + 0.5 * side.strip
    spacing, first = rng.uniform(7, 16), rng.uniform(7, 14)
    avenue = rng.random() < (0.85 if side.style == "row" else 0.4)
    for z in np.arange(first, 75, spacing) if avenue else ():
        z = z + rng.uniform(-1, 1)
        if rng.random() < 0.85 and not _in_crossing(world, z, 2.0):
            _add(world, rng, _tree, side.sign * kerb, z, (0.9, 1.2, 5.5))
    if rng.random() < 0.7:
        for z in np.arange(rng.uniform(8, 22), 75, rng.uniform(18, 28)):
            _add(world, rng, _pole, side.sign * kerb, z, (0.08, 0.1, 6), kind=POLE)
    for _ in range(rng.poisson(1.3)):
        z = rng.uniform(7, 40)
        _add(world, rng, _pole, side.sign * kerb, z, (0.1, 0.1, 2.5), kind=SIGN)
    if world.crossing < _FAR and rng.random() < 0.8:
        z = world.crossing - 5.5
        _add(world, rng, _pole, side.sign * kerb, z, (0.1, 0.1, 3), kind=LIGHT)
    for _ in range(rng.poisson(0.5)):
        s, z = side.sign * (kerb + 0.4), rng.uniform(8, 30)
        _add(world, rng, _bin, s, z, (0.3, 0.6, 1.0))
    if rng.random() < 0.2:
        s, z = side.sign * (kerb + rng.uniform(0.2, 0.8)), rng.uniform(8, 20)
        _add(world, rng, _cyclist, s, z, (0.5, 0.2, 1.0), parked=True)


def _enters_view(world, s: float) -> float:
    """Distance beyond which a point at s is inside the picture, in metres."""
    aside = s - world.eye[0]
    edge = 1.0 - world.vanishing[0] if aside > 0 else world.vanishing[0]
    return abs(aside) * world.focal / edge


def _add_pedestrians(world, rng, side: _Side) -> None:
    """Persons on the sidewalk, alone and in groups; some cross the road."""
    inner, groups = world.half_road + side.strip, 1 + rng.poisson(1.6)
    for _ in range(groups):
        s = inner + side.sidewalk * rng.uniform(0.1, 0.85)
        nearest = max(7.0, 1.1 * _enters_view(world, side.sign * s))
        z = nearest * (1.0 + 1.8 * rng.random() ** 1.8)
        for member in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
            place = s + rng.uniform(-0.2, 0.2) + 0.45 * member
            place = side.sign * min(place, side.line(world.half_road) - 0.2)
            _add(world, rng, _person, place, z + rng.uniform(0, 0.8), (0.25, 0.3, 1.7))
    if rng.random() < 0.4:
        s, z = side.sign * world.half_road * rng.uniform(0.3, 1.05), rng.uniform(7, 15)
        for member in range(rng.choice((1, 1, 2, 3))):
            place = s + rng.uniform(0.45, 0.75) * member
            _add(world, rng, _person, place, z + 0.4 * member, (0.25, 0.3, 1.7))


def _add_vehicle(world, rng, draw, s, z, heading) -> None:
    """Adds a car or a large vehicle, not so near that it fills the view."""
    if z > (10.5 if abs(s - world.eye[0]) < 2.0 else 5.0):
        shadow = (0.95, 4.4, 1.4) if draw is _car else (1.2, 8.0, 3.0)
        _add(world, rng, draw, s, z, shadow, heading=heading)


def _add_traffic(world, rng) -> None:
    """Parked and driving vehicles and cyclists, without collisions in a lane."""
    half = world.half_road
    for sign in (-1, 1):
        parked = half > 4.2 and rng.random() < 0.65
        z = rng.uniform(5, 12)
        while parked and z < 60:
            s = sign * (half - rng.uniform(0.9, 1.1))
            if rng.random() < 0.75 and not _in_crossing(world, z, 5.0):
                turn = rng.normal(0, 0.03) + np.pi * (rng.random() < 0.25)
                _add_vehicle(world, rng, _car, s, z, heading=turn)
            z += rng.uniform(5.4, 7.5)
        # The lane that runs ahead is the right one.
        z, turn = rng.uniform(8, 24), np.pi * (sign < 0)
        while z < 70:
            kind, lane = rng.random(), 0.5 * (half - 2.0 * parked)
            s = sign * lane + rng.uniform(-0.2, 0.2)
            looks = dict(heading=turn + rng.normal(0, 0.04))
            if kind < 0.55:
                _add_vehicle(world, rng, _car, s, z, **looks)
            elif kind < 0.65 and z > 14:
                _add_vehicle(world, rng, _large_vehicle, s, z, **looks)
            elif kind < 0.8:
                s = sign * (lane + rng.uniform(0.2, 0.7))
                _add(world, rng, _cyclist, s, z, (0.4, 1.2, 1.6))
            z += rng.uniform(10, 24)
    if world.crossing < _FAR and rng.random() < 0.6:
        s, heading = rng.uniform(-half, half) * 2, rng.choice((-1, 1)) * np.pi / 2
        shadow = (2.2, 1.8, 1.4)
        _add(world, rng, _car, s, world.crossing, shadow, heading=heading)


# What is behind the things: sky and ground, at the picture's own size, for their
# patterns are soft and their cost is that of every pixel.


def _draw_sky(painter: _Painter, rng, down) -> Tuple[np.ndarray, np.ndarray]:
    """Sky with clouds, and a skyline in the haze: image and label."""
    world, (height, width) = painter.world, down.shape
    haze = world.haze[1]
    zenith = haze * 0.95 if world.overcast else haze * _tint(1.0, 0.62, 0.8, 1.08)
    small = height // 2, width // 2
    rise = np.clip(-down[::2, ::2][: small[0], : small[1]] / 0.45, 0, 1)
    clouds = _smooth_noise(rng, small, (6, 8))
    clouds += 0.5 * _smooth_noise(rng, small, (18, 20))
    cover = np.clip(0.35 * clouds + rng.uniform(-0.3, 0.4), 0, 0.8) * rise
    light = haze * (rng.uniform(0.8, 1.08) if world.overcast else 1.12)
    sky = haze + (zenith - haze) * rise[..., None]
    sky = np.clip(sky + (light - sky) * cover[..., None], 0, 255).astype(np.uint8)
    image = np.array(Image.fromarray(sky).resize((width, height), Image.BILINEAR))
    skyline = rng.uniform(0.02, 0.07) + 0.012 * _smooth_noise(rng, (1, width), (1, 40))
    cls, steps = (BUILDING, VEGETATION)[rng.integers(2)], rng.uniform(0.0, 0.06, 61)
    if cls == BUILDING:
        skyline = skyline * 0.5 + steps[np.arange(width) * 60 // width]
    far = -down < skyline
    tone = _choice(rng, _FACADES if cls == BUILDING else _LEAVES) * np.float32(0.8)
    image[far] = painter.ink(tone, _FAR)
    return image, np.where(far, cls, SKY).astype(np.uint8)


def _shadows(painter: _Painter, shape) -> np.ndarray:
    """How much of the sun each ground pixel loses to things, [H, W] in [0, 1]."""
    world, scale = painter.world, shape[1] / painter.shape[1]
    mask = Image.new("L", shape[::-1])
    pen = ImageDraw.Draw(mask)
    slope = [min(1.3, max(-1.3, -world.sun[i] / world.sun[1])) for i in (0, 2)]

    def fill(corners, value):
        if min(z for _, z in corners) > _NEAR:
            pixels = painter.project([(s, 0.0, z) for s, z in corners])
            pen.polygon([(x * scale, y * scale) for x, y in pixels], value)

    feet = []
    for thing in world.things:
        half, length, tall = thing.shadow
        if half and thing.z < 60:
            s0, s1 = thing.s - half, thing.s + half
            z0, z1 = thing.z - length / 2, thing.z + length / 2
            foot = [(s0, z0), (s1, z0), (s1, z1), (s0, z1)]
            tip = [(s + slope[0] * tall, z + slope[1] * tall) for s, z in foot]
            for i, j in ((0, 2), (1, 3)):  # the diagonals' sweeps
                sweep = [foot[i], foot[j], tip[j], tip[i]]
                fill(sweep, 130 if world.overcast else 200)
            feet += [foot] * (half > 0.5)
    for foot in feet:
        fill(foot, 255)
    blur = 0.004 * shape[1] * (1.0 if world.overcast else 0.25)
    return np.asarray(mask.filter(ImageFilter.GaussianBlur(blur)), np.float32) / 255


def _ground_classes(world: _World, s, z) -> np.ndarray:
    """The class of the ground at road coordinates, [H, W] uint8."""
    distance, classes = np.abs(s), np.full(s.shape, ROAD, np.uint8)
    for side in world.sides:
        own = (s > 0) == (side.sign > 0)
        kerb = world.half_road
        classes[own & (distance > kerb)] = TERRAIN if side.strip else SIDEWALK
        classes[own & (distance > kerb + side.strip)] = SIDEWALK
        outer = TERRAIN if side.style != "row" else SIDEWALK
        classes[own & (distance > side.line(kerb))] = outer
    classes[np.abs(z - world.crossing) < 4.5] = ROAD
    return classes


def _ground_tones(rng) -> np.ndarray:
    """The colours of road, sidewalk and terrain, [256, 3] float32 by class."""
    asphalt, alike = rng.uniform(66, 122), rng.random() < 0.35
    paved = asphalt + rng.uniform(-6, 10) if alike else rng.uniform(95, 168)
    tones = np.zeros((256, 3), np.float32)
    tones[ROAD] = _tint(asphalt, 1, 1, rng.uniform(0.98, 1.06))
    tones[SIDEWALK] = _tint(paved, 1, rng.uniform(0.94, 1.0), rng.uniform(0.86, 1.0))
    tones[TERRAIN] = _choice(rng, ((96, 116, 60), (112, 112, 66), (128, 108, 78)))
    return tones


def _draw_ground(painter: _Painter, rng, right, down, image, label) -> None:
    """Road, strips, sidewalks and what lies behind them, by casting rays down."""
    world = painter.world
    below = down > world.eye[1] / _FAR
    first = int(np.argmax(below.any(1)))
    below, right, down = below[first:], right[first:], down[first:]
    z = world.eye[1] / np.maximum(down, world.eye[1] / _FAR)
    s = right * z - painter.offset(z)

    def noise(scale, tile=world.tile):
        return painter.look_up(tile, z, s, scale)

    clear = np.clip(1.3 - z / 40, 0, 1)  # fine patterns fade with distance
    grain, patches = noise(23) * clear, noise(6, world.blobs)
    # In some streets the seam is worn: the image shows it blurred and displaced.
    worn = rng.uniform(0.0, 0.3) * (rng.random() < 0.6)
    shown = _ground_classes(world, s + worn * (0.5 * grain + 0.5 * patches), z)
    light = 1 + 0.05 * patches + 0.05 * grain
    light += np.where(shown == TERRAIN, 0.12 * noise(9) + 0.1 * grain, 0)
    slab = rng.uniform(0.4, 0.9)
    width = 0.05 / slab
    joint = ((_part(s / slab) < width) | (_part(z / slab) < width)) & (
        shown == SIDEWALK
    )
    light -= rng.uniform(0.05, 0.25) * clear * joint
    kerb = (np.abs(np.abs(s) - world.half_road - 0.07) < 0.07) & (shown != ROAD)
    light += rng.uniform(-0.2, 0.3) * kerb
    colours = _ground_tones(rng)[shown] * light[..., None]
    paint = _markings(world, rng, s, z) & (shown == ROAD) & (noise(7) < 1.6)
    colours[paint] = colours[paint] * 0.25 + rng.uniform(150, 175)
    shade = _shadows(painter, label.shape)[first:]
    if rng.random() < 0.5:  # buildings on the sun's side darken their half
        reach = world.half_road * rng.uniform(-0.3, 1.1)
        ragged = 0.8 * painter.look_up(world.blobs, z, 0 * z, 0.5)
        shade = np.maximum(shade, s * math.copysign(1, world.sun[0]) > reach + ragged)
    depth = (1 - world.ambient) * (1.0 if not world.overcast else 2.0)
    colours *= (1.0 - depth * shade)[..., None]
    seen = np.clip(painter.through_air(colours, z), 0, 255).astype(np.uint8)
    np.copyto(image[first:], seen, where=below[..., None])
    np.copyto(label[first:], _ground_classes(world, s, z), where=below)


def _markings(world, rng, s, z) -> np.ndarray:
    """Where the road is painted: centre line, edge lines, zebra crossing."""
    dash, gap = rng.uniform(2, 4), rng.uniform(2, 6)
    dashes = _part(z / (dash + gap)) < dash / (dash + gap)
    paint = (np.abs(s) < 0.08) & dashes & (rng.random() < 0.75)
    edge = world.half_road - rng.uniform(0.25, 2.2)
    paint |= (np.abs(np.abs(s) - edge) < 0.06) & (rng.random() < 0.4)
    start = world.crossing - 9.5 if world.crossing < _FAR else rng.uniform(6, 60)
    zebra = (np.abs(z - start - 1.5) < 1.5) & (_part(s) < 0.5)
    return paint | (zebra & (rng.random() < 0.6))


# From the canvas to the picture.


def _draw_extras(painter: _Painter, rng) -> None:
    """Overhead wires and the own car's bonnet, both ignored."""
    height, width = painter.shape
    thin = max(2, width // 350)
    for _ in range(2 * (rng.random() < 0.2)):
        z, y = rng.uniform(10, 40), rng.uniform(5, 7)
        line = painter.project([(-30, y, z), (0, y - 0.5, z), (30, y, z)])
        painter.pens[0].line(line, (52, 54, 58), thin)
        painter.pens[1].line(line, IGNORED, thin + 1)
    if rng.random() < 0.35:
        paint, rise = _choice(rng, _PAINTS) * 0.8, rng.uniform(0.04, 0.11) * height
        middle, reach = rng.uniform(0.42, 0.58) * width, rng.uniform(0.6, 0.9) * width
        for step in np.linspace(0, 1, 8):
            colour = tuple(np.clip(paint * (1.3 - 0.6 * step) + 14, 0, 255).astype(int))
            top = height - rise * (1 - 0.8 * step)
            box = (middle - reach, top, middle + reach, top + 3 * rise)
            painter.pens[0].ellipse(box, colour)
            if step == 0:
                painter.pens[1].ellipse(box, IGNORED)


def _expose(image: np.ndarray, label: np.ndarray, rng) -> np.ndarray:
    """What a camera makes of the drawing: grain, blur, exposure, noise."""
    height, width = label.shape
    fine = rng.standard_normal((height, width), dtype=np.float32)
    coarse = _smooth_noise(rng, label.shape, (height // 4, width // 4))
    image = image * (1 + _GRAIN[label] * (0.5 * fine + 0.5 * coarse))[..., None]
    image = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))
    blur = rng.uniform(0.15, 0.6) * width / 512
    image = np.asarray(image.filter(ImageFilter.GaussianBlur(blur)), np.float32) / 255
    across = np.linspace(-1, 1, width) ** 2 + np.linspace(-1, 1, height)[:, None] ** 2
    vignette = 1 - rng.uniform(0.0, 0.14) * across.astype(np.float32)
    gain = _tint(rng.uniform(0.7, 1.15), *rng.uniform(0.93, 1.07, 3))
    image = np.clip(image * vignette[..., None] * gain, 0, 1)
    image **= rng.uniform(0.85, 1.25)
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    noise *= rng.uniform(0.006, 0.028) * (0.5 + image)
    image += noise
    return (np.clip(image, 0, 1, out=image) * 255 + 0.5).astype(np.uint8)


def draw_scene(
    index: int, *, seed: int, size: Tuple[int, int] = (256, 512)
) -> Tuple[np.ndarray, np.ndarray]:
    """Draws one street scene and its label map, a pure function of the arguments.

    Args:
      index: the scene's number, at least 0.
      seed: selects the sequence of scenes, at least 0.
      size: (height, width) in pixels, each at least 32. Another size shows the
        same world with other noise.

    Returns:
      image: [H, W, 3] uint8 RGB.
      label: [H, W] uint8 train ids, 255 where ignored.
    """
    if min(size) < 32:
        raise ValueError(f"a scene needs at least 32x32 pixels, got {tuple(size)}")
    world = _sample_world(seed, index)
    rng = np.random.default_rng((seed, index, 1))
    painter = _Painter(world, size)
    right, down = (
        rays[::_SUPERSAMPLING, ::_SUPERSAMPLING]
        for rays in (painter.right, painter.down)
    )
    image, label = _draw_sky(painter, rng, down)
    _draw_ground(painter, rng, right, down, image, label)
    painter.start(image, label)
    for thing in sorted(world.things, key=lambda thing: -thing.z):
        if painter.sees(thing):
            thing.draw(painter)
    _draw_extras(painter, rng)
    label = np.array(painter.label)[::_SUPERSAMPLING, ::_SUPERSAMPLING].copy()
    if rng.random() < 0.25:  # rectification leaves rims without a label
        rim = max(1, size[1] // 128)
        label[:, :rim] = label[:, -rim:] = IGNORED
    image = np.asarray(painter.image.reduce(_SUPERSAMPLING), np.float32)
    return _expose(image, label, rng), label


def draw_scenes(
    num: int,
    *,
    seed: int,
    size: Tuple[int, int] = (256, 512),
    first_index: int = 0,
    progress: bool = False,
) -> Tuple[np.ndarray, np.ndarray]:
    """Draws scenes first_index ... first_index + num - 1.

    Args:
      num: how many scenes.
      seed: selects the sequence of scenes.
      size: (height, width) in pixels.
      first_index: number of the first scene.
      progress: report on standard error.

    Returns:
      images: [num, H, W, 3] uint8 RGB.
      labels: [num, H, W] uint8 train ids, 255 where ignored.
    """
    images = np.zeros((num,) + tuple(size) + (3,), np.uint8)
    labels = np.zeros((num,) + tuple(size), np.uint8)
    for i in range(num):
        images[i], labels[i] = draw_scene(first_index + i, seed=seed, size=size)
        if progress and ((i + 1) % 10 == 0 or i + 1 == num):
            end = "\n" if i + 1 == num else ""
            print(f"\rstreet scenes: {i + 1}/{num}", end=end, file=sys.stderr)
    return images, labels
