"""Trajectories: sampling, holding, and what is refused."""

import numpy as np
import pytest
from numpy.typing import NDArray

from ladle.errors import MotionError
from real_world_deployment.trajectory import JointTrajectory, at_rest, concatenated, on_grid


def three_nodes() -> JointTrajectory:
    """Two joints, three nodes, rest at the end."""
    rng = np.random.default_rng(0)
    dq, ddq = rng.normal(0, 0.3, (3, 2)), rng.normal(0, 1.0, (3, 2))
    dq[-1] = ddq[-1] = 0.0
    return JointTrajectory(np.array([1.0, 1.1, 1.3]), rng.normal(0, 0.1, (3, 2)), dq, ddq)


def test_nodes_are_met_exactly_and_derivatives_agree() -> None:
    """The quintic passes its nodes, and each derivative is the slope of the one before."""
    motion = three_nodes()
    states = motion.sample(motion.times_s)
    np.testing.assert_allclose(states.q_rad, motion.q_rad, atol=1e-13)
    np.testing.assert_allclose(states.dq_rad_s[:2], motion.dq_rad_s[:2], atol=1e-12)
    np.testing.assert_allclose(states.ddq_rad_s2[:2], motion.ddq_rad_s2[:2], atol=1e-10)
    at = np.linspace(1.0, 1.29, 40)
    step = 1e-6
    for lower, higher in zip(motion.sample(at - step / 2)[:3], motion.sample(at + step / 2)[:3], strict=True):
        assert lower.shape == (40, 2)
        assert np.all(np.isfinite(higher - lower))
    inner = at[1:]
    slope = (motion.sample(inner + step).q_rad - motion.sample(inner - step).q_rad) / (2 * step)
    np.testing.assert_allclose(slope, motion.sample(inner).dq_rad_s, atol=1e-5)


def test_it_samples_as_the_controller_does() -> None:
    """The positions are those of simulation.jtc_trajectory, written after ros2_controllers."""
    from simulation.jtc_trajectory import JointState, interpolate

    motion = three_nodes()
    at = np.linspace(1.1, 1.2999, 50)

    def node(index: int) -> JointState:
        return JointState(*(np.tile(rows[index], (50, 1)) for rows in (motion.q_rad, motion.dq_rad_s,
                                                                      motion.ddq_rad_s2)))

    theirs = interpolate(node(1), node(2), at - 1.1, np.full(50, 1.3 - 1.1))
    np.testing.assert_allclose(motion.sample(at).q_rad, theirs.position_rad, atol=1e-12)
    np.testing.assert_allclose(motion.sample(at).ddq_rad_s2, theirs.acceleration_rad_s2, atol=1e-9)


def test_the_end_is_held() -> None:
    """After the end the arm stands, also where the motion is followed by another one later."""
    motion = three_nodes()
    assert np.all(motion.sample([1.3, 5.0]).q_rad == motion.q_rad[-1])
    later = motion.until(2.0, at_rest(motion.q_rad[-1], 2.0))
    at = np.linspace(0.9, 3.0, 200)
    for before, after in zip(motion.sample(at), later.sample(at), strict=True):
        np.testing.assert_allclose(before, after, atol=1e-12)


def test_a_motion_cut_in_two_is_the_same_motion() -> None:
    """Left between two nodes at its own state it goes on as before; what is past may be dropped."""
    motion = three_nodes()
    state = motion.state(1.15)
    rest = JointTrajectory(np.array([1.15, 1.3]), np.stack([state.q_rad, motion.q_rad[-1]]),
                           np.stack([state.dq_rad_s, np.zeros(2)]), np.stack([state.ddq_rad_s2, np.zeros(2)]))
    again = motion.until(1.15, rest)
    at = np.linspace(1.0, 1.29, 100)
    np.testing.assert_allclose(again.sample(at).q_rad, motion.sample(at).q_rad, atol=1e-12)
    np.testing.assert_array_equal(motion.since(1.15).times_s, [1.1, 1.3])
    assert motion.since(0.5) is motion


def test_motions_follow_each_other() -> None:
    """A second motion that starts where the first ends is appended; another is refused."""
    motion = three_nodes()
    after = JointTrajectory(np.array([1.3, 1.5]), np.stack([motion.q_rad[-1], motion.q_rad[-1] + 0.1]),
                            np.zeros((2, 2)), np.zeros((2, 2)))
    assert concatenated(motion, after).end_s == 1.5
    with pytest.raises(MotionError, match="cannot be joined"):
        concatenated(motion, at_rest(motion.q_rad[-1], 2.0))


@pytest.mark.parametrize(("change", "says"), [
    ({"times_s": np.array([1.0, 1.0, 1.3])}, "increase strictly"),
    ({"q_rad": np.full((3, 2), np.nan)}, "NaN"),
    ({"dq_rad_s": np.ones((3, 2))}, "end at rest"),
    ({"ddq_rad_s2": np.zeros((3, 1))}, "one shape"),
])
def test_impossible_trajectories_are_refused(change: dict[str, NDArray[np.float64]], says: str) -> None:
    """Repeated times, NaN, a moving end and mixed widths each say what is wrong."""
    motion = three_nodes()
    parts = {"times_s": motion.times_s, "q_rad": motion.q_rad, "dq_rad_s": motion.dq_rad_s,
             "ddq_rad_s2": motion.ddq_rad_s2, **change}
    with pytest.raises(MotionError, match=says):
        JointTrajectory(**parts)


def test_the_grid_rounds_up_to_whole_milliseconds() -> None:
    """A time on the grid stays; one off it moves to the next millisecond."""
    assert on_grid(1.234) == 1.234
    assert on_grid(1.2341) == 1.235
