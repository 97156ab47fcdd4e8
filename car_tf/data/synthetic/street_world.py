"""Samples what is in a street scene and where; lengths in metres."""

import functools

import numpy as np

from car_tf.data.synthetic import street_painter as st
from car_tf.data.synthetic import street_things as things


def _sample_side(rng, sign: int) -> st.Side:
    style = rng.choice(("row", "garden", "park"), p=(0.5, 0.3, 0.2))
    return st.Side(
        sign=sign,
        strip=rng.uniform(0.8, 2.0) if rng.random() < 0.35 else 0.0,
        sidewalk=rng.uniform(2.2, 5.0),
        garden={"row": 0.0, "garden": rng.uniform(2, 6), "park": 18.0}[style],
        style=style,
    )


def sample_world(seed: int, index: int) -> st.World:
    rng = np.random.default_rng((seed, index, 0))
    overcast = rng.random() < 0.4
    azimuth, rise = rng.uniform(-np.pi, np.pi), rng.uniform(0.35, 1.1)
    sun = np.array((np.sin(azimuth), rise, np.cos(azimuth)))
    sun /= np.linalg.norm(sun)
    fine, middle, blobs = (st.repeating_noise(rng, n) for n in (256, 64, 32))
    half_road = rng.uniform(3.2, 5.9)
    world = st.World(
        half_road=half_road,
        bend=rng.normal(0, 0.0016),
        sides=(_sample_side(rng, -1), _sample_side(rng, 1)),
        crossing=rng.uniform(14, 50) if rng.random() < 0.3 else 2 * st.FAR,
        eye=(rng.uniform(-0.1, 0.62) * half_road, rng.uniform(1.25, 1.75)),
        focal=rng.uniform(0.75, 1.05),
        vanishing=(rng.uniform(0.36, 0.64), rng.uniform(0.36, 0.5)),
        roll=rng.normal(0, 0.012),
        sun=tuple(sun.tolist()),
        ambient=rng.uniform(0.8, 0.92) if overcast else rng.uniform(0.5, 0.7),
        haze=(rng.uniform(120, 700), st.tint(rng.uniform(170, 225), 0.97, 1.0, 1.03)),
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
    world.things.append(st.Thing(z, call, s, shadow))


def _in_crossing(world, z, margin=0.0) -> bool:
    return abs(z - world.crossing) < 5.0 + margin


def _add_frontage(world, rng, side: st.Side) -> None:
    """Buildings, what stands before them, and trees in gardens and parks."""
    add = functools.partial(_add, world, rng)
    line = side.line(world.half_road)
    z, neighbour = rng.uniform(-8, 0), 0.0
    while z < 95 and side.style != "park":
        length = rng.uniform(8, 20)
        if z < world.crossing + 6 and z + length > world.crossing - 6:
            z, neighbour = world.crossing + 6.0, 0.0
        s, height = side.sign * (line + side.garden), rng.uniform(5, 20)
        looks = dict(height=height, joined=height <= neighbour, sign=side.sign)
        add(things.building, s, z + length, length=length, **looks)
        z, neighbour = z + length, height
        if side.style == "garden" or rng.random() < 0.25:
            z, neighbour = z + rng.uniform(1, 9), 0.0
    fenced = rng.random() < {"row": 0.0, "garden": 0.8, "park": 0.5}[side.style]
    kind = (st.FENCE, st.WALL, st.VEGETATION)[rng.integers(3)]
    for z in np.arange(5.0, 55.0, 6.0) if fenced else ():
        if not _in_crossing(world, z - 3, 4.0):
            looks = dict(kind=kind, length=6.0, sign=side.sign)
            add(things.barrier, side.sign * (line + 0.15), z, **looks)
    for _ in range(rng.poisson({"row": 0, "garden": 6, "park": 18}[side.style])):
        z, s = 5 + 75 * rng.random() ** 1.3, line + 1 + side.garden * rng.random()
        if not _in_crossing(world, z, 3.0):
            draw = things.tree if rng.random() < 0.65 else things.bush
            add(draw, side.sign * s, z, (0.8, 1.0, 5.0))


def _add_furniture(world, rng, side: st.Side) -> None:
    """Trees, lamps, signs, lights, bins along the kerb."""
    add = functools.partial(_add, world, rng)
    kerb = world.half_road + 0.4 + 0.5 * side.strip
    spacing, first = rng.uniform(7, 16), rng.uniform(7, 14)
    avenue = rng.random() < (0.85 if side.style == "row" else 0.4)
    for z in np.arange(first, 75, spacing) if avenue else ():
        z = z + rng.uniform(-1, 1)
        if rng.random() < 0.85 and not _in_crossing(world, z, 2.0):
            add(things.tree, side.sign * kerb, z, (0.9, 1.2, 5.5))
    if rng.random() < 0.7:
        for z in np.arange(rng.uniform(8, 22), 75, rng.uniform(18, 28)):
            add(things.pole, side.sign * kerb, z, (0.08, 0.1, 6), kind=st.POLE)
    for _ in range(rng.poisson(1.3)):
        z = rng.uniform(7, 40)
        add(things.pole, side.sign * kerb, z, (0.1, 0.1, 2.5), kind=st.SIGN)
    if world.crossing < st.FAR and rng.random() < 0.8:
        z = world.crossing - 5.5
        add(things.pole, side.sign * kerb, z, (0.1, 0.1, 3), kind=st.LIGHT)
    for _ in range(rng.poisson(0.5)):
        s, z = side.sign * (kerb + 0.4), rng.uniform(8, 30)
        add(things.bin, s, z, (0.3, 0.6, 1.0))
    if rng.random() < 0.2:
        s, z = side.sign * (kerb + rng.uniform(0.2, 0.8)), rng.uniform(8, 20)
        add(things.cyclist, s, z, (0.5, 0.2, 1.0), parked=True)


def _enters_view(world, s: float) -> float:
    """Distance beyond which a point at s is inside the picture, in metres."""
    aside = s - world.eye[0]
    edge = 1.0 - world.vanishing[0] if aside > 0 else world.vanishing[0]
    return abs(aside) * world.focal / edge


def _add_pedestrians(world, rng, side: st.Side) -> None:
    """Persons on the sidewalk, alone and in groups; some cross the road."""
    add = functools.partial(_add, world, rng)
    inner, groups = world.half_road + side.strip, 1 + rng.poisson(1.6)
    for _ in range(groups):
        s = inner + side.sidewalk * rng.uniform(0.1, 0.85)
        nearest = max(7.0, 1.1 * _enters_view(world, side.sign * s))
        z = nearest * (1.0 + 1.8 * rng.random() ** 1.8)
        for member in range(rng.choice((1, 1, 1, 2, 2, 3, 4))):
            place = s + rng.uniform(-0.2, 0.2) + 0.45 * member
            place = side.sign * min(place, side.line(world.half_road) - 0.2)
            add(things.person, place, z + rng.uniform(0, 0.8), (0.25, 0.3, 1.7))
    if rng.random() < 0.4:
        s, z = side.sign * world.half_road * rng.uniform(0.3, 1.05), rng.uniform(7, 15)
        for member in range(rng.choice((1, 1, 2, 3))):
            place = s + rng.uniform(0.45, 0.75) * member
            add(things.person, place, z + 0.4 * member, (0.25, 0.3, 1.7))


def _add_vehicle(world, rng, draw, s, z, heading) -> None:
    """Adds a car or a large vehicle, not so near that it fills the view."""
    add = functools.partial(_add, world, rng)
    if z > (10.5 if abs(s - world.eye[0]) < 2.0 else 5.0):
        shadow = (0.95, 4.4, 1.4) if draw is things.car else (1.2, 8.0, 3.0)
        add(draw, s, z, shadow, heading=heading)


def _add_traffic(world, rng) -> None:
    """Parked and driving vehicles and cyclists, without collisions in a lane."""
    add = functools.partial(_add, world, rng)
    half = world.half_road
    for sign in (-1, 1):
        parked = half > 4.2 and rng.random() < 0.65
        z = rng.uniform(5, 12)
        while parked and z < 60:
            s = sign * (half - rng.uniform(0.9, 1.1))
            if rng.random() < 0.75 and not _in_crossing(world, z, 5.0):
                turn = rng.normal(0, 0.03) + np.pi * (rng.random() < 0.25)
                _add_vehicle(world, rng, things.car, s, z, heading=turn)
            z += rng.uniform(5.4, 7.5)
        # The lane that runs ahead is the right one.
        z, turn = rng.uniform(8, 24), np.pi * (sign < 0)
        while z < 70:
            kind, lane = rng.random(), 0.5 * (half - 2.0 * parked)
            s = sign * lane + rng.uniform(-0.2, 0.2)
            looks = dict(heading=turn + rng.normal(0, 0.04))
            if kind < 0.55:
                _add_vehicle(world, rng, things.car, s, z, **looks)
            elif kind < 0.65 and z > 14:
                _add_vehicle(world, rng, things.large_vehicle, s, z, **looks)
            elif kind < 0.8:
                s = sign * (lane + rng.uniform(0.2, 0.7))
                add(things.cyclist, s, z, (0.4, 1.2, 1.6))
            z += rng.uniform(10, 24)
    if world.crossing < st.FAR and rng.random() < 0.6:
        s, heading = rng.uniform(-half, half) * 2, rng.choice((-1, 1)) * np.pi / 2
        shadow = (2.2, 1.8, 1.4)
        add(things.car, s, world.crossing, shadow, heading=heading)
