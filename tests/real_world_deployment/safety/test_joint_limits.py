"""What is refused, and that the refusal says why."""

import numpy as np
import pytest
from numpy.typing import NDArray

from ladle.errors import MotionError
from ladle.task import TaskConfig
from real_world_deployment.config import LimitShares
from real_world_deployment.safety import MotionLimits
from real_world_deployment.trajectory import JointTrajectory, at_rest


def move(home_rad: NDArray[np.float64], joint: int, by_rad: float, duration_s: float) -> JointTrajectory:
    """One minimum-jerk segment of one joint."""
    q = np.stack([home_rad, home_rad])
    q[1, joint] += by_rad
    return JointTrajectory(np.array([0.0, duration_s]), q, np.zeros((2, 7)), np.zeros((2, 7)))


def test_a_calm_move_passes(limits: MotionLimits, home_rad: NDArray[np.float64]) -> None:
    """Half a radian in two seconds is fine."""
    limits.check(move(home_rad, 0, 0.5, 2.0))


@pytest.mark.parametrize(("joint", "by_rad", "duration_s", "says"), [
    (0, 3.0, 60.0, "range.*panda_joint1"),
    (1, 1.0, 0.94, "velocity.*panda_joint2"),
    (3, 0.25, 0.33, "acceleration.*panda_joint4"),
    (6, 0.002, 0.02, "jerk.*panda_joint7|acceleration.*panda_joint7"),
])
def test_each_limit_is_named(limits: MotionLimits, home_rad: NDArray[np.float64], joint: int, by_rad: float,
                             duration_s: float, says: str) -> None:
    """Position, velocity, acceleration and jerk are refused with the joint's name."""
    with pytest.raises(MotionError, match=says):
        limits.check(move(home_rad, joint, by_rad, duration_s))


def test_a_peak_between_the_nodes_is_found(limits: MotionLimits, home_rad: NDArray[np.float64]) -> None:
    """The nodes stand still; only the millisecond samples show the speed."""
    motion = move(home_rad, 1, 1.0, 0.94)
    assert np.all(motion.dq_rad_s == 0)
    with pytest.raises(MotionError):
        limits.check(motion)


def test_jerk_is_checked_by_itself(task: TaskConfig, home_rad: NDArray[np.float64]) -> None:
    """With a small share of the jerk limit a calm move is refused for its jerk."""
    assert task.limits is not None
    assert task.joints is not None
    gentle = MotionLimits(task.limits, LimitShares(jerk=1e-4), task.joints.names)
    with pytest.raises(MotionError, match="jerk"):
        gentle.check(move(home_rad, 0, 0.5, 2.0))


def test_another_number_of_joints_is_refused(limits: MotionLimits) -> None:
    """Six joints for an arm of seven."""
    rest = np.zeros((2, 6))
    with pytest.raises(MotionError, match="6 joints"):
        limits.check(JointTrajectory(np.array([0.0, 1.0]), rest, rest, rest))


@pytest.mark.parametrize("end", ["position_lower_rad", "position_upper_rad"])
def test_the_margin_is_kept_at_both_ends(end: str, task: TaskConfig, limits: MotionLimits) -> None:
    """19 mrad before the end of any joint is refused, 21 mrad before it is not; the margin is 20 mrad."""
    middle = (limits.lower_rad + limits.upper_rad) / 2
    ends = np.array(getattr(task.limits, end))
    for joint in range(7):
        q = middle.copy()
        q[joint] = ends[joint] + 0.021 * np.sign(middle - ends)[joint]
        limits.check(at_rest(q, 0.0))
        q[joint] = ends[joint] + 0.019 * np.sign(middle - ends)[joint]
        with pytest.raises(MotionError, match=f"range.*panda_joint{joint + 1}"):
            limits.check(at_rest(q, 0.0))
