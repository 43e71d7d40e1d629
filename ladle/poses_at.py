"""The tip's poses at given joints: the same rule for a bag and for the robot."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ladle.kinematics import KinematicChain
from ladle.pose import make_continuous

Floats = NDArray[np.float64]


def poses_of(chain: KinematicChain, joints_rad: Floats, names: Sequence[str]) -> Floats:
    """(T, n) joints in the order of `names` -> (T, 7) metres and quaternion xyzw, sign-continuous."""
    columns = [list(names).index(name) for name in chain.joint_names]
    poses = chain.forward(joints_rad[:, columns])
    return np.concatenate([poses[:, :3], make_continuous(poses[:, 3:])], axis=1)
