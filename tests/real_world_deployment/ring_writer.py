"""A process that writes records whose content tells their number, until it is killed: python ring_writer.py NAME."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
from real_world_deployment.frame_ring import RingWriter
from real_world_deployment.ring_layout import RingLayout

SHAPE = (120, 240, 3)
SLOTS = 8


def layout() -> RingLayout:
    """A frame and a number beside it."""
    return RingLayout.like({"image": np.zeros(SHAPE, np.uint8), "number": np.zeros(1, np.int64)}, SLOTS)


def main() -> None:
    """As fast as it goes; the first line says that it has begun, and with which number."""
    writer = RingWriter(sys.argv[1], layout())
    number = writer.put({"image": np.zeros(SHAPE, np.uint8), "number": np.array([-1])}, 0, 0)
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()
    while True:
        number += 1
        image = np.full(SHAPE, number % 251, np.uint8)
        writer.put({"image": image, "number": np.array([number])}, number * 1000, -number)


if __name__ == "__main__":
    main()
