"""People warped by random action units, meshed again: what the action-unit head is fitted on."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bemerc.extraction.face import mesh
from bemerc.extraction.face.action_units import UNITS
from fits.face_warps import Look, Portrait, draw
from fits.photographs import Finder, Person, meshed

Array = NDArray[np.float64]

# Movements that come together in faces; half of the warps are made of these, half of random ones.
TOGETHER = (
    *((6, 12), (6, 12, 25), (1, 2), (1, 2, 5), (1, 2, 5, 26), (1, 2, 26, 25), (4, 7), (4, 7, 23), (4, 5, 7), (9, 10)),
    *((4, 9, 10), (9, 17), (1, 4), (1, 4, 15), (1, 15, 17), (15, 17), (20, 25), (1, 2, 4, 5, 20), (25, 26), (12, 25)),
    *((10, 25), (17, 23), (14, 12), (2, 12), (4, 45), (7, 12, 6), (25, 26, 5)),
)


@dataclass(frozen=True)
class Warps:
    """points (N, 478, 3) aligned, intensities (N, 18) planted, person (N,), rest (N,) bool: nothing was planted."""

    points: Array
    intensities: Array
    person: NDArray[np.intp]
    rest: NDArray[np.bool_]


def warps(persons: list[Person], per_face: int, seed: int) -> Warps:
    """At rest four times, each unit alone once, turned at rest, and ``per_face`` mixtures of every person, seen through
    the mesh."""
    rng, finder = np.random.default_rng(seed), Finder(0.3)
    landmarks, planted, person_of, rest = [], [], [], []
    for number, person in enumerate(persons):
        portrait = Portrait(person.crop, person.landmarks)
        for intensities, look, size in _orders(per_face, rng):
            drawn = draw(portrait, intensities, look, rng)
            noise = int(rng.integers(0, 9))
            detected = meshed(finder, [camera(picture, size, noise, rng) for picture in (person.crop, drawn, drawn)])
            if detected is not None:
                landmarks.append(detected)
                planted.append(intensities)
                person_of.append(number)
                rest.append(not intensities.any() and look == REST)
        print(f"person {number + 1} of {len(persons)}: {len(landmarks)} meshes", flush=True)
    points = mesh.align(np.array(landmarks)).points
    return Warps(points, np.array(planted), np.array(person_of), np.array(rest))


REST = Look(jitter=0)
# Yaw and pitch in degrees: a head that turns must move no unit.
TURNS = [
    *((yaw, 0.0) for yaw in (-35.0, -25.0, -15.0, 15.0, 25.0, 35.0)),
    *((0.0, pitch) for pitch in (-20.0, -10.0, 10.0, 20.0)),
    *((yaw, pitch) for yaw in (-20.0, 20.0) for pitch in (-12.0, 12.0)),
]


def _orders(per_face: int, rng: np.random.Generator) -> list[tuple[Array, Look, float]]:
    orders = [(np.zeros(len(UNITS)), REST, size) for size in (1.0, 0.7, 0.5, 0.4)]
    for unit in range(len(UNITS)):
        alone = np.zeros(len(UNITS))
        alone[unit] = rng.uniform(2, 5)
        orders.append((alone, Look(soft_lids=rng.random() < 0.5), rng.uniform(0.4, 1)))
    orders += [
        (np.zeros(len(UNITS)), Look(jitter=0, yaw=yaw, pitch=pitch), rng.uniform(0.5, 1)) for yaw, pitch in TURNS
    ]
    for _ in range(per_face):
        orders.append((_mixture(rng), random_look(rng), rng.uniform(0.35, 1)))
    return orders


def random_look(rng: np.random.Generator) -> Look:
    """Sometimes another head, sometimes turned, sometimes with soft lids."""
    return Look(
        identity=int(rng.integers(1, 10**6)) if rng.random() < 0.3 else 0,
        yaw=float(np.clip(rng.normal(0, 14), -35, 35)) if rng.random() < 0.6 else 0,
        pitch=float(np.clip(rng.normal(0, 8), -20, 20)) if rng.random() < 0.6 else 0,
        soft_lids=rng.random() < 0.5,
    )


def _mixture(rng: np.random.Generator) -> Array:
    planted = np.zeros(len(UNITS))
    if rng.random() < 0.5:
        strength = rng.uniform(0.5, 5)
        for unit in TOGETHER[rng.integers(len(TOGETHER))]:
            planted[UNITS.index(unit)] = np.clip(strength * np.exp(rng.normal(0, 0.35)), 0, 5)
        if rng.random() < 0.3:
            planted[rng.integers(len(UNITS))] = rng.uniform(0.5, 5)
    else:
        some = rng.choice(len(UNITS), rng.integers(1, 5), replace=False)
        planted[some] = rng.uniform(0.5, 5, len(some))
    return planted


def camera(picture: NDArray[np.uint8], size: float, noise: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    small = cv2.resize(picture, None, fx=size, fy=size, interpolation=cv2.INTER_AREA)
    if noise:
        small = np.clip(small.astype(np.int16) + rng.integers(-noise, noise + 1, small.shape), 0, 255)
    return np.asarray(small, np.uint8)
