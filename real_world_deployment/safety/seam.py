"""Where one plan takes over from another, nothing may step."""

from __future__ import annotations

import numpy as np

from ladle.errors import MotionError
from real_world_deployment.trajectory import JointState

# What may differ between the end of one plan and the start of the next, per joint: rounding only.
SEAM_TOLERANCES = {"position (rad)": 1e-9, "velocity (rad/s)": 1e-8, "acceleration (rad/s²)": 1e-6}


def check_seam(before: JointState, after: JointState) -> None:
    """Two plans must agree in position, velocity and acceleration where one takes over.

    Raises:
        MotionError: which of them steps, and by how much.
    """
    pairs = zip(SEAM_TOLERANCES.items(), before[1:], after[1:], strict=True)
    for (what, tolerance), old, new in pairs:
        step = float(np.max(np.abs(old - new)))
        if not step <= tolerance:
            raise MotionError(f"the new motion would step in {what} by {step:.2e} at {after.time_s:.3f} s; "
                              f"at most {tolerance:.0e} is taken for rounding; the motion is refused")
