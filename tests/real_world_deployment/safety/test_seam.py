"""Where plans meet, a step is refused and named."""

import numpy as np
import pytest

from ladle.errors import MotionError
from real_world_deployment.safety import check_seam
from real_world_deployment.trajectory import JointState


def test_a_seam_that_steps_is_refused() -> None:
    """A velocity step of 0.01 rad/s is named; rounding is not."""
    before = JointState(1.0, np.zeros(7), np.zeros(7), np.zeros(7))
    check_seam(before, JointState(1.0, np.full(7, 1e-12), np.zeros(7), np.zeros(7)))
    with pytest.raises(MotionError, match="velocity"):
        check_seam(before, JointState(1.0, np.zeros(7), np.full(7, 0.01), np.zeros(7)))
    with pytest.raises(MotionError, match="position"):
        check_seam(before, JointState(1.0, np.full(7, np.nan), np.zeros(7), np.zeros(7)))
