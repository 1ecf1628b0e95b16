"""What an incident does to the requests of one model: factors and probabilities over slices, on all of its traffic or
on that of one region or organisation."""

from dataclasses import dataclass

import numpy as np

from replay.arrivals import Booleans, Floats, Integers

SLICE_S = 10
SLICES_A_MINUTE = 6


@dataclass(frozen=True)
class Disturbance:
    """In slices [start, start + len(depth)) of model number `model`; `depth` (0 to 1) says how much of it is in force.

    `requests`, `latency`, `inputs`, `outputs`, `price` are factors at full depth, `errors` a probability, and a share
    `slow` of the requests takes `slow_times` as long. `region` and `organisation` (-1: all) say whose.
    """

    model: int
    start: int
    depth: Floats
    requests: float = 1.0
    latency: float = 1.0
    inputs: float = 1.0
    outputs: float = 1.0
    price: float = 1.0
    errors: float = 0.0
    slow: float = 0.0
    slow_times: float = 1.0
    region: int = -1
    organisation: int = -1

    @property
    def end(self) -> int:
        """The first slice after it."""
        return self.start + len(self.depth)

    def at(self, slices: Integers) -> Floats:
        """The depth in each of these slices."""
        inside = (slices >= self.start) & (slices < self.end)
        return np.asarray(self.depth[(slices - self.start).clip(0, len(self.depth) - 1)] * inside)

    def hits(self, regions: Integers, organisations: Integers) -> Booleans:
        """Which requests it concerns, whenever."""
        hit = regions >= 0
        if self.region >= 0:
            hit = hit & (regions == self.region)
        if self.organisation >= 0:
            hit = hit & (organisations == self.organisation)
        return hit


def grown(factor: float, depth: Floats) -> Floats:
    """A factor in force to this depth: 1 at 0, `factor` at 1."""
    return 1.0 + (factor - 1.0) * depth
