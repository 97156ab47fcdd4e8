"""What stands in a street scene: trees, buildings, vehicles, persons, poles.

Each function takes the painter, where the thing stands, and the seed of its looks.
"""

import functools
import math

import numpy as np

from car_tf.data.synthetic import street_painter as st

_CIRCLE = [(math.cos(a * math.pi / 8), math.sin(a * math.pi / 8)) for a in range(16)]
_GAPS, _JOINTS = np.float32([(0.75, 0.4), (0.66, 0.82)])  # fences' and walls' light


def _foliage(painter: st.Painter, s, y, z, radius, seed, lift=0.0) -> None:
    """A crown or bush about (s, y) with radii (across, up) in metres."""
    rng = np.random.default_rng(seed)
    leaf = st.choice(rng, st.LEAVES)
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
    painter.paste(where, painter.through_air(colours, z), seen, mask, st.VEGETATION)


def tree(painter: st.Painter, s, z, seed) -> None:
    rng = np.random.default_rng(seed)
    height, bark = rng.uniform(4.5, 10.0), st.choice(rng, ((86, 72, 58), (60, 52, 46)))
    wide, trunk = height * rng.uniform(0.2, 0.36), height * rng.uniform(0.25, 0.42)
    lean = rng.uniform(-0.2, 0.2)
    ends = [(s, 0, z), (s + lean, trunk + 0.5, z)]
    painter.limb(ends, 0.05 * height * rng.uniform(0.6, 1.1), bark, st.VEGETATION, 0.8)
    radius = wide, (height - trunk) / 2
    _foliage(painter, s + lean, trunk + radius[1] * 0.95, z, radius, seed + 1)


def bush(painter: st.Painter, s, z, seed) -> None:
    rng = np.random.default_rng(seed)
    radius = rng.uniform(0.7, 2.6), rng.uniform(0.45, 1.3)
    _foliage(painter, s, radius[1] * 0.5, z, radius, seed + 1, lift=0.5)


def _hedge_paint(painter, leaf, along, up):
    fine = painter.look_up(painter.world.tile, up, along, 16)
    coarse = painter.look_up(painter.world.blobs, up, along, 26)
    return leaf * np.clip(0.75 + 0.2 * fine + 0.15 * coarse, 0.2, 1.5)[..., None]


def barrier(painter: st.Painter, s, z, seed, kind, length, sign) -> None:
    """A piece of fence, wall or hedge along the sidewalk, its far end at z."""
    rng = np.random.default_rng(seed)
    colour = st.choice(rng, (st.LEAVES if kind == st.VEGETATION else st.FACADES))
    top = {st.FENCE: 1.3, st.WALL: 1.6, st.VEGETATION: 1.5}[kind] * rng.uniform(
        0.7, 1.3
    )

    def paint(along, up, distance):
        if kind == st.VEGETATION:
            return _hedge_paint(painter, colour, along, up)
        if kind == st.FENCE:
            rail = np.minimum(np.abs(up - 0.25), np.abs(up - top + 0.2)) < 0.06
            bars = rail | (along % 0.22 < 0.1)
            return colour * np.where(bars, *_GAPS)[..., None]
        joint = (up % 0.3 < 0.04) | ((along + 0.3 * (up // 0.3)) % 0.6 < 0.04)
        return colour * np.where(joint, *_JOINTS)[..., None]

    ends, normal = ((s, z - length), (s, z)), (-sign, 0, 0)
    painter.wall(ends, (0.0, top), paint, kind, normal)


def building(painter: st.Painter, s, z, seed, length, sign, height, joined) -> None:
    """A building with its front at s and its far end at z.

    The gable towards the camera is left out where the building is `joined` to one
    that hides it.
    """
    rng = np.random.default_rng(seed)
    colour, trim = st.choice(rng, st.FACADES), st.choice(rng, st.FACADES)
    shop = rng.random() < 0.4
    floor = rng.uniform(2.8, 3.6)
    bay, pane = rng.uniform(1.9, 4.0), rng.uniform(0.2, 0.36, 2).tolist()
    shop_pane = np.float32([(0.44, pane[0]), (0.4, pane[1])])
    blinds = rng.uniform(0.25, 1.0, 997).astype(np.float32) ** 2
    glass, brick = (st.tint(rng.uniform(50, 110), 1, 1.14, 1.33), rng.random() < 0.4)

    def paint(along, up, distance):
        story, column = up / floor, along / bay
        row, height_in, along_in = (story.astype(int), st.part(story), st.part(column))
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
            stagger = st.part(brick_along + 0.5 * (course.astype(int) & 1)) < 0.15
            light -= 0.13 * near * ((st.part(course) < 0.3) | stagger)
        dirt = painter.look_up(painter.world.blobs, up, along, 12)
        result = colour * (light + 0.035 * dirt)[:, None]
        result[frame] = trim * np.float32(0.9)
        pick = row[window] * 31 + column[window].astype(int) * 17
        shine = 0.45 + 0.9 * blinds[pick % 997] + 0.25 * rise[window]
        result[window] = glass * shine[:, None]
        return result

    roof, back = (st.choice(rng, ((112, 62, 50), (70, 68, 72))), s + sign * 11)
    if height < 11:
        ridge, tip = s + sign * 5, height * 1.32
        slope = [(s, height, max(z - length, st.NEAR)), (s, height, z)]
        slope += [(ridge, tip, z), (ridge, tip, max(z - length, st.NEAR))]
        painter.polygon(slope, roof, st.BUILDING, painter.shade((-0.6 * sign, 0.8, 0)))
        gable = [(s, height, z - length), (ridge, tip, z - length)]
        gable += [(back, height, z - length)]
        painter.polygon(gable, colour, st.BUILDING, painter.shade((0, 0, -1)))
    face = functools.partial(painter.wall, heights=(0.0, height), cls=st.BUILDING)
    if not joined:
        face(((s, z - length), (back, z - length)), paint=paint, normal=(0, 0, -1))
    face(((s, z - length), (s, z)), paint=paint, normal=(-sign, 0, 0))


def _prism(painter: st.Painter, at, heading, profile, colours, cls) -> None:
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
        if min(z for _, _, z in corners) < st.NEAR:
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


def _flank(painter: st.Painter, at, heading, half):
    """The half width, signed, of the flank that the camera sees."""
    eye = -painter.offset(at[1])
    across = (eye - at[0]) * math.cos(heading) + at[1] * math.sin(heading)
    return half if across > 0 else -half


def _wheels(painter: st.Painter, at, heading, half, axles, radius, cls) -> None:
    near = _flank(painter, at, heading, half * 1.01)
    for axle in axles:
        for scale, colour in ((1.2, (18,) * 3), (1.0, (34,) * 3), (0.6, (120,) * 3)):
            ring = [
                (axle + scale * radius * x, max(0.0, radius + scale * radius * y))
                for x, y in _CIRCLE
            ]
            painter.polygon(_on_side(at, heading, near, ring), colour, cls, 0.9)


def _lamps(painter: st.Painter, at, heading, length, half, height, cls) -> None:
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


def car(painter: st.Painter, s, z, seed, heading) -> None:
    rng = np.random.default_rng(seed)
    kind = rng.integers(4)  # hatchback, saloon, estate or SUV, van
    long = (3.9, 4.6, 4.5, 4.9)[kind] * rng.uniform(0.94, 1.06)
    high = (1.46, 1.43, 1.62, 1.95)[kind] * rng.uniform(0.96, 1.05)
    hood, boot = ((0.95, 0.25), (1.15, 0.85), (1.1, 0.15), (0.7, 0.1))[kind]
    half, belt, clear = rng.uniform(0.84, 0.93), 0.6 * high, 0.22
    paint, at, e = st.choice(rng, st.PAINTS), (s, z), long / 2
    glass = np.array((46, 56, 66)) * rng.uniform(0.5, 1.8)
    body = [(-e, clear, half), (-e, 0.8 * belt, half), (-e + 0.1, belt, half * 0.97)]
    body += [(e - hood, belt, half * 0.97), (e - 0.12, 0.84 * belt, half * 0.95)]
    body += [(e, 0.62 * belt, half), (e, clear, half)]
    _prism(painter, at, heading, body, [paint] * 6 + [paint * 0.92], st.CAR)
    near = _flank(painter, at, heading, half * 1.005)
    sill = [(-e, clear), (e, clear), (e, clear + 0.16), (-e, clear + 0.16)]
    painter.polygon(_on_side(at, heading, near, sill), paint * 0.45, st.CAR)
    roof = -e + boot + (0.45, 0.45, 0.2, 0.2)[kind], e - hood - (
        0.5 + 0.25 * (kind < 3)
    )
    cabin = [(-e + boot, belt, half * 0.96), (roof[0], high, half * 0.78)]
    cabin += [(roof[1], high, half * 0.78), (e - hood, belt, half * 0.94)]
    _prism(painter, at, heading, cabin, [glass, paint, glass * 1.2, glass], st.CAR)
    top = near * 0.79
    bars = [(-e + boot, roof[0]), (0.1, 0.05), (e - hood, roof[1])]
    for low, tip in bars:
        ends = [_on_side(at, heading, near * 0.97, [(low, belt)])[0]]
        ends += [_on_side(at, heading, top, [(tip, high)])[0]]
        if min(ends[0][2], ends[1][2]) > st.NEAR:
            painter.limb(ends, 0.09, paint, st.CAR, 0.85)
    if painter.focal / z > st.DETAIL:
        _lamps(painter, at, heading, long, half, high, st.CAR)
        _wheels(painter, at, heading, half, (-0.31 * long, 0.31 * long), 0.31, st.CAR)


def large_vehicle(painter: st.Painter, s, z, seed, heading) -> None:
    """A bus, or a truck of a cab and a box."""
    rng = np.random.default_rng(seed)
    is_bus, paint, at = (rng.random() < 0.45, st.choice(rng, st.PAINTS), (s, z))
    cls, half = (st.BUS if is_bus else st.TRUCK), rng.uniform(1.1, 1.25)
    long, high = rng.uniform(6.5, 10.0), rng.uniform(2.8, 3.5)
    e, glass = long / 2, np.array((40, 48, 58)) * rng.uniform(0.7, 1.5)
    split = -e if is_bus else e - 2.1
    box = st.choice(rng, st.PAINTS)
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


def person(
    painter: st.Painter, s, z, seed, cls=st.PERSON, lift=0.0, pedal=False
) -> None:
    """A standing, walking or (pedal) cycling person, lifted by some metres."""
    rng = np.random.default_rng(seed)
    tall = rng.uniform(1.58, 1.95) if rng.random() < 0.88 else rng.uniform(1.1, 1.4)
    k = tall / 1.75  # the figure below is 1.75 m tall
    wide = rng.uniform(0.65, 1.1)  # seen from the side, or from front or back
    coat, trousers, shoe, bag = (st.choice(rng, st.CLOTHES) for _ in range(4))
    skin, hair = st.choice(rng, st.SKINS), st.choice(rng, st.HAIRS)
    stride = rng.uniform(-0.26, 0.26) * (rng.random() < 0.75)
    swing, hem = rng.uniform(-0.3, 0.3), rng.choice((0.84, 0.84, 0.84, 0.7, 0.5))
    light = painter.shade((math.copysign(0.6, -s), 0.3, -0.7))
    dark = -math.copysign(1.0, painter.world.sun[0])  # the side in the shade
    near = painter.focal / z > st.DETAIL

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


def cyclist(painter: st.Painter, s, z, seed, parked=False) -> None:
    rng = np.random.default_rng(seed)
    narrow, colour = rng.uniform(0.12, 0.9), st.choice(rng, st.PAINTS)
    tyre = (26, 26, 28)
    for side in (-0.52, 0.52):
        rim = [(side + 0.34 * x, 0.34 + 0.34 * y) for x, y in _CIRCLE + _CIRCLE[:1]]
        painter.limb([(s + narrow * x, y, z) for x, y in rim], 0.06, tyre, st.BICYCLE)
    frame = [(-0.52, 0.34), (-0.15, 0.85), (0.42, 0.88), (0.0, 0.36), (-0.15, 0.85)]
    frame += [(-0.15, 0.95), (-0.15, 0.85), (0.42, 0.88), (0.52, 0.34), (0.38, 1.05)]
    painter.limb([(s + narrow * x, y, z) for x, y in frame], 0.05, colour, st.BICYCLE)
    if not parked:
        person(painter, s - 0.1 * narrow, z, seed, st.RIDER, lift=0.12, pedal=True)


def pole(painter: st.Painter, s, z, seed, kind) -> None:
    """A street lamp (POLE), a traffic sign or a traffic light on its pole."""
    rng = np.random.default_rng(seed)
    grey, inward = rng.uniform(60, 150) * np.ones(3), -np.sign(s)
    if kind == st.POLE:
        tall, arm = rng.uniform(5, 8), rng.uniform(0.6, 1.8) * inward
        ends = [(s, 0, z), (s, tall, z), (s + arm, tall + 0.2, z)]
        painter.limb(ends, 0.13, grey, st.POLE)
        return
    tall = rng.uniform(2.3, 3.0)
    painter.limb([(s, 0, z), (s, tall, z)], 0.09, grey, st.POLE)
    if kind == st.LIGHT:
        low, high = tall - 0.4, tall + 0.55
        box = [(-0.17, low), (0.17, low), (0.17, high), (-0.17, high)]
        painter.polygon([(s + x, y, z) for x, y in box], (26, 28, 28), st.LIGHT)
        lamp, colour = ((0.4, (230, 40, 30)), (-0.2, (50, 220, 120)))[rng.integers(2)]
        bulb = [(s - 0.01, tall + lamp, z), (s + 0.01, tall + lamp, z)]
        painter.limb(bulb, 0.2, colour, st.LIGHT, 1.2)
        return
    sides = (3, 4, 16)[rng.integers(3)]
    turns = [2 * math.pi * (i / sides + 0.25) for i in range(sides)]
    turns = [turn + math.pi / 4 * (sides == 4) for turn in turns]
    white, red, blue = (226,) * 3, (190, 30, 34), (40, 80, 170)
    rim, inside = ((red, white), (white, blue))[rng.integers(2)]
    for r, colour in ((0.42, rim), (0.31, inside)):
        disc = [(s + r * math.cos(t), tall + r * math.sin(t), z) for t in turns]
        painter.polygon(disc, colour, st.SIGN, 0.95)


def bin(painter: st.Painter, s, z, seed) -> None:
    """Street furniture that has no train id: ignored."""
    rng = np.random.default_rng(seed)
    wide, high = rng.uniform(0.2, 0.45), rng.uniform(0.8, 1.3)
    profile = [(-wide, 0, wide), (-wide, high, wide)]
    profile += [(wide, high, wide), (wide, 0, wide)]
    _prism(painter, (s, z), 0.2, profile, [st.choice(rng, st.PAINTS)] * 4, st.IGNORED)
