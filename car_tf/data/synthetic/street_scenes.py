"""Draws street scenes with their label maps: the embedded default data.

THESE ARE DRAWINGS, NOT CITYSCAPES, and no photograph or label of any data set is
in them. They only speak Cityscapes' language (19 train ids, 255 ignored), so that
the main job runs on a machine that has no data. Numbers measured on them say
nothing about real streets and must never be reported beside numbers on Cityscapes.

A scene is a small world in metres (a bent road between sidewalks, buildings,
gardens, trees, vehicles and persons), sampled from (seed, index) and seen by a
pinhole camera. The ground and the facades are found by intersecting each pixel's
ray with their planes, everything else is projected and drawn, far to near, on a
canvas of twice the size. All sizes show the same world. `street_painter` tells the
road coordinates s, y, z.
"""

import math
from typing import Tuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from car_tf.data.synthetic import street_painter as st
from car_tf.data.synthetic import street_world

# Grain that the final image gets per class (fraction of the brightness).
_GRAIN = np.full(256, 0.04, np.float32)
_GRAIN[[st.ROAD, st.SIDEWALK, st.BUILDING, st.WALL]] = (0.07, 0.07, 0.05, 0.08)
_GRAIN[[st.VEGETATION, st.TERRAIN, st.SKY, st.PERSON]] = (0.13, 0.14, 0.01, 0.06)


# What is behind the things: sky and ground, at the picture's own size, for their
# patterns are soft and their cost is that of every pixel.


def _draw_sky(painter: st.Painter, rng, down) -> Tuple[np.ndarray, np.ndarray]:
    """Sky with clouds, and a skyline in the haze: image and label."""
    world, (height, width) = painter.world, down.shape
    haze = world.haze[1]
    zenith = haze * 0.95 if world.overcast else haze * st.tint(1.0, 0.62, 0.8, 1.08)
    small = height // 2, width // 2
    rise = np.clip(-down[::2, ::2][: small[0], : small[1]] / 0.45, 0, 1)
    clouds = st.smooth_noise(rng, small, (6, 8))
    clouds += 0.5 * st.smooth_noise(rng, small, (18, 20))
    cover = np.clip(0.35 * clouds + rng.uniform(-0.3, 0.4), 0, 0.8) * rise
    light = haze * (rng.uniform(0.8, 1.08) if world.overcast else 1.12)
    sky = haze + (zenith - haze) * rise[..., None]
    sky = np.clip(sky + (light - sky) * cover[..., None], 0, 255).astype(np.uint8)
    image = np.array(Image.fromarray(sky).resize((width, height), Image.BILINEAR))
    skyline = rng.uniform(0.02, 0.07)
    skyline = skyline + 0.012 * st.smooth_noise(rng, (1, width), (1, 40))
    cls = (st.BUILDING, st.VEGETATION)[rng.integers(2)]
    steps = rng.uniform(0.0, 0.06, 61)
    if cls == st.BUILDING:
        skyline = skyline * 0.5 + steps[np.arange(width) * 60 // width]
    far = -down < skyline
    tone = st.choice(rng, st.FACADES if cls == st.BUILDING else st.LEAVES)
    image[far] = painter.ink(tone * np.float32(0.8), st.FAR)
    return image, np.where(far, cls, st.SKY).astype(np.uint8)


def _shadows(painter: st.Painter, shape) -> np.ndarray:
    """How much of the sun each ground pixel loses to things, [H, W] in [0, 1]."""
    world, scale = painter.world, shape[1] / painter.shape[1]
    mask = Image.new("L", shape[::-1])
    pen = ImageDraw.Draw(mask)
    slope = [min(1.3, max(-1.3, -world.sun[i] / world.sun[1])) for i in (0, 2)]

    def fill(corners, value):
        if min(z for _, z in corners) > st.NEAR:
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


def _ground_classes(world: st.World, s, z) -> np.ndarray:
    """The class of the ground at road coordinates, [H, W] uint8."""
    distance, classes = np.abs(s), np.full(s.shape, st.ROAD, np.uint8)
    for side in world.sides:
        own = (s > 0) == (side.sign > 0)
        kerb = world.half_road
        classes[own & (distance > kerb)] = st.TERRAIN if side.strip else st.SIDEWALK
        classes[own & (distance > kerb + side.strip)] = st.SIDEWALK
        outer = st.TERRAIN if side.style != "row" else st.SIDEWALK
        classes[own & (distance > side.line(kerb))] = outer
    classes[np.abs(z - world.crossing) < 4.5] = st.ROAD
    return classes


def _ground_tones(rng) -> np.ndarray:
    """The colours of road, sidewalk and terrain, [256, 3] float32 by class."""
    asphalt, alike = rng.uniform(66, 122), rng.random() < 0.35
    paved = asphalt + rng.uniform(-6, 10) if alike else rng.uniform(95, 168)
    tones = np.zeros((256, 3), np.float32)
    tones[st.ROAD] = st.tint(asphalt, 1, 1, rng.uniform(0.98, 1.06))
    warm = rng.uniform(0.94, 1.0), rng.uniform(0.86, 1.0)
    tones[st.SIDEWALK] = st.tint(paved, 1, *warm)
    tones[st.TERRAIN] = st.choice(rng, ((96, 116, 60), (112, 112, 66), (128, 108, 78)))
    return tones


def _draw_ground(painter: st.Painter, rng, right, down, image, label) -> None:
    """Road, strips, sidewalks and what lies behind them, by casting rays down."""
    world = painter.world
    below = down > world.eye[1] / st.FAR
    first = int(np.argmax(below.any(1)))
    below, right, down = below[first:], right[first:], down[first:]
    z = world.eye[1] / np.maximum(down, world.eye[1] / st.FAR)
    s = right * z - painter.offset(z)

    def noise(scale, tile=world.tile):
        return painter.look_up(tile, z, s, scale)

    clear = np.clip(1.3 - z / 40, 0, 1)  # fine patterns fade with distance
    grain, patches = noise(23) * clear, noise(6, world.blobs)
    # In some streets the seam is worn: the image shows it blurred and displaced.
    worn = rng.uniform(0.0, 0.3) * (rng.random() < 0.6)
    shown = _ground_classes(world, s + worn * (0.5 * grain + 0.5 * patches), z)
    light = 1 + 0.05 * patches + 0.05 * grain
    light += np.where(shown == st.TERRAIN, 0.12 * noise(9) + 0.1 * grain, 0)
    slab = rng.uniform(0.4, 0.9)
    width = 0.05 / slab
    joint = (st.part(s / slab) < width) | (st.part(z / slab) < width)
    light -= rng.uniform(0.05, 0.25) * clear * (joint & (shown == st.SIDEWALK))
    kerb = (np.abs(np.abs(s) - world.half_road - 0.07) < 0.07) & (shown != st.ROAD)
    light += rng.uniform(-0.2, 0.3) * kerb
    colours = _ground_tones(rng)[shown] * light[..., None]
    paint = _markings(world, rng, s, z) & (shown == st.ROAD) & (noise(7) < 1.6)
    colours[paint] = colours[paint] * 0.25 + rng.uniform(150, 175)
    shade = _shadows(painter, label.shape)[first:]
    if rng.random() < 0.5:  # buildings on the sun's side darken their half
        reach = world.half_road * rng.uniform(-0.3, 1.1)
        ragged = 0.8 * painter.look_up(world.blobs, z, 0 * z, 0.5)
        away = s * math.copysign(1, world.sun[0])
        shade = np.maximum(shade, away > reach + ragged)
    depth = (1 - world.ambient) * (1.0 if not world.overcast else 2.0)
    colours *= (1.0 - depth * shade)[..., None]
    seen = np.clip(painter.through_air(colours, z), 0, 255).astype(np.uint8)
    np.copyto(image[first:], seen, where=below[..., None])
    np.copyto(label[first:], _ground_classes(world, s, z), where=below)


def _markings(world, rng, s, z) -> np.ndarray:
    """Where the road is painted: centre line, edge lines, zebra crossing."""
    dash, gap = rng.uniform(2, 4), rng.uniform(2, 6)
    dashes = st.part(z / (dash + gap)) < dash / (dash + gap)
    paint = (np.abs(s) < 0.08) & dashes & (rng.random() < 0.75)
    edge = world.half_road - rng.uniform(0.25, 2.2)
    paint |= (np.abs(np.abs(s) - edge) < 0.06) & (rng.random() < 0.4)
    start = world.crossing - 9.5 if world.crossing < st.FAR else rng.uniform(6, 60)
    zebra = (np.abs(z - start - 1.5) < 1.5) & (st.part(s) < 0.5)
    return paint | (zebra & (rng.random() < 0.6))


# From the canvas to the picture.


def _draw_extras(painter: st.Painter, rng) -> None:
    """Overhead wires and the own car's bonnet, both ignored."""
    height, width = painter.shape
    thin = max(2, width // 350)
    for _ in range(2 * (rng.random() < 0.2)):
        z, y = rng.uniform(10, 40), rng.uniform(5, 7)
        line = painter.project([(-30, y, z), (0, y - 0.5, z), (30, y, z)])
        painter.pens[0].line(line, (52, 54, 58), thin)
        painter.pens[1].line(line, st.IGNORED, thin + 1)
    if rng.random() < 0.35:
        paint, rise = st.choice(rng, st.PAINTS) * 0.8, rng.uniform(0.04, 0.11) * height
        middle, half = rng.uniform(0.42, 0.58) * width, rng.uniform(0.6, 0.9) * width
        for step in np.linspace(0, 1, 8):
            colour = tuple(np.clip(paint * (1.3 - 0.6 * step) + 14, 0, 255).astype(int))
            top = height - rise * (1 - 0.8 * step)
            box = middle - half, top, middle + half, top + 3 * rise
            painter.pens[0].ellipse(box, colour)
            if step == 0:
                painter.pens[1].ellipse(box, st.IGNORED)


def _expose(image: np.ndarray, label: np.ndarray, rng) -> np.ndarray:
    """What a camera makes of the drawing: grain, blur, exposure, noise."""
    height, width = label.shape
    fine = rng.standard_normal((height, width), dtype=np.float32)
    coarse = st.smooth_noise(rng, label.shape, (height // 4, width // 4))
    image = image * (1 + _GRAIN[label] * (0.5 * fine + 0.5 * coarse))[..., None]
    image = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))
    blur = rng.uniform(0.15, 0.6) * width / 512
    image = np.asarray(image.filter(ImageFilter.GaussianBlur(blur)), np.float32) / 255
    across = np.linspace(-1, 1, width) ** 2 + np.linspace(-1, 1, height)[:, None] ** 2
    vignette = 1 - rng.uniform(0.0, 0.14) * across.astype(np.float32)
    gain = st.tint(rng.uniform(0.7, 1.15), *rng.uniform(0.93, 1.07, 3))
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

    Index and seed are at least 0; the seed selects the sequence of scenes. `size` is
    (height, width) in pixels, each at least 32: another one shows the same world with
    other noise. Returns [H, W, 3] uint8 RGB, and [H, W] uint8 train ids, 255 where
    ignored.
    """
    if min(size) < 32:
        raise ValueError(f"a scene needs at least 32x32 pixels, got {tuple(size)}")
    world = street_world.sample_world(seed, index)
    rng = np.random.default_rng((seed, index, 1))
    painter, step = st.Painter(world, size), st.SUPERSAMPLING
    right, down = (r[::step, ::step] for r in (painter.right, painter.down))
    image, label = _draw_sky(painter, rng, down)
    _draw_ground(painter, rng, right, down, image, label)
    painter.start(image, label)
    for thing in sorted(world.things, key=lambda thing: -thing.z):
        if painter.sees(thing):
            thing.draw(painter)
    _draw_extras(painter, rng)
    label = np.array(painter.label)[::step, ::step].copy()
    if rng.random() < 0.25:  # rectification leaves rims without a label
        rim = max(1, size[1] // 128)
        label[:, :rim] = label[:, -rim:] = st.IGNORED
    image = np.asarray(painter.image.reduce(step), np.float32)
    return _expose(image, label, rng), label
