"""Sizes and places of the simulated things, in metres; one home, so that physics, puree and expert agree."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from ladle.arm_config import HomeConfig
from ladle.task import load_task

FloatArray = NDArray[np.float64]

TASK = "scoop"

ARM_JOINTS = tuple(f"panda_joint{i}" for i in range(1, 8))
TIP_BODY = "panda_hand"

# The bowl stands on the table (z = 0); its wall is upright.
BOWL_FLOOR_Z_M = 0.006
BOWL_DEPTH_M = 0.080
BOWL_RIM_Z_M = BOWL_FLOOR_Z_M + BOWL_DEPTH_M
BOWL_RADIUS_M = 0.062  # inner
BOWL_WALL_M = 0.006
BOWL_SEGMENTS = 20

# The ladle: a handle from between the fingers, a cup whose axis stands at 80 degrees to the hand's z.
CUP_ANGLE_RAD = float(np.deg2rad(80.0))
HANDLE_ANGLE_RAD = float(np.deg2rad(25.0))
HANDLE_START_M = np.array([0.0, 0.0, 0.095])
HANDLE_LENGTH_M = 0.13
CUP_HALF_LENGTH_M = 0.020
CUP_HALF_WIDTH_M = 0.016
CUP_HALF_HEIGHT_M = 0.005
_HANDLE_AXIS = np.array([np.sin(HANDLE_ANGLE_RAD), 0.0, np.cos(HANDLE_ANGLE_RAD)])
CUP_AXIS = np.array([np.sin(CUP_ANGLE_RAD), 0.0, np.cos(CUP_ANGLE_RAD)])
# Out of the cup's open side, in the hand frame; with the hand pointing down this points up.
CUP_NORMAL = np.array([np.cos(CUP_ANGLE_RAD), 0.0, -np.sin(CUP_ANGLE_RAD)])
HANDLE_END_M = HANDLE_START_M + HANDLE_LENGTH_M * _HANDLE_AXIS
CUP_CENTRE_M = HANDLE_END_M + CUP_HALF_LENGTH_M * CUP_AXIS

# Square grid of the puree's surface, centred on the bowl; heights count from the table.
PUREE_CELLS = 51
PUREE_HALF_SIZE_M = 0.068


@cache
def home_position_m() -> FloatArray:
    """(3,) where the tip starts, before the scene's offset: the task's home, hand pointing straight down."""
    return np.asarray(_home().pose.position_m)


@cache
def home_posture_rad() -> FloatArray:
    """(7,) joints near the home pose; they choose the branch of the inverse kinematics."""
    return np.asarray(_home().posture_rad)


def puree_level_m(fill: float) -> float:
    """Height of the flat surface over the table, for a fill of 0..1."""
    return BOWL_FLOOR_Z_M + fill * BOWL_DEPTH_M



def _home() -> HomeConfig:
    home = load_task(TASK).home
    assert home is not None
    return home
