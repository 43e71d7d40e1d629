"""Box and planes: what is refused, that it is named, and that the task itself fits in."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ladle.errors import KinematicsError, MotionError, TaskError, TooFastError
from ladle.kinematics import KinematicChain
from ladle.pose import quaternion_to_matrix
from ladle.task import TaskConfig, load_task, task_from_text, task_text
from ladle.workspace import BoxConfig, PlaneConfig, WorkspaceConfig, WorkspacePointConfig
from real_world_deployment.safety import MotionLimits
from real_world_deployment.safety.sampled import SampledMotion
from real_world_deployment.safety.workspace import Workspace
from real_world_deployment.trajectory import JointStates, JointTrajectory
from simulation.expert import plan
from simulation.geometry import BOWL_FLOOR_Z_M
from simulation.scene_sampling import sample_scene

Array = NDArray[np.float64]
TIP = WorkspacePointConfig(name="probe", link="panda_hand", offset_m=(0.0, 0.0, 0.1), radius_m=0.02)
Joints = st.lists(st.floats(-0.5, 0.5), min_size=7, max_size=7)


def standing(q_rad: Array) -> SampledMotion:
    """Samples (m, 7) without any speed."""
    rest = np.zeros_like(q_rad)
    return SampledMotion(0.001 * np.arange(len(q_rad)), JointStates(q_rad, rest, rest, rest))


def centre(chain: KinematicChain, q_rad: Array) -> Array:
    """(3,) of the probe, by the chain's forward kinematics."""
    pose = chain.forward(q_rad)
    return pose[:3] + quaternion_to_matrix(pose[3:]) @ np.array(TIP.offset_m)


@settings(deadline=None, max_examples=50)
@given(around=Joints, normal=st.tuples(*[st.floats(-1, 1)] * 3), height_m=st.floats(-0.3, 0.3))
def test_a_plane_is_kept_exactly(around: list[float], normal: tuple[float, float, float], height_m: float,
                                 chain: KinematicChain, home_rad: Array) -> None:
    """Refused if and only if the sphere crosses the plane, for any plane and pose; the depth is told."""
    if np.linalg.norm(normal) < 0.1:
        return
    unit = np.array(normal) / np.linalg.norm(normal)
    q = home_rad + np.array(around)
    foot = centre(chain, home_rad) - height_m * unit
    config = WorkspaceConfig(points=(TIP,), planes=(PlaneConfig(name="p", point_m=tuple(foot.tolist()),
                                                                normal=normal),))
    distance_m = float(unit @ (centre(chain, q) - foot)) - TIP.radius_m
    workspace = Workspace(chain, config)
    np.testing.assert_allclose(workspace.clearances_m(standing(q[None]))[0, 0, 0], distance_m, atol=1e-9)
    if distance_m > 1e-9:
        workspace.check(standing(q[None]))
    elif distance_m < -1e-9:
        with pytest.raises(MotionError, match=f"probe.*{-distance_m:.3f} m beyond the plane 'p'"):
            workspace.check(standing(q[None]))


@settings(deadline=None, max_examples=30)
@given(around=Joints, half_m=st.floats(0.05, 0.4))
def test_a_box_is_kept_exactly(around: list[float], half_m: float, chain: KinematicChain, home_rad: Array) -> None:
    """Refused if and only if the sphere reaches through one of the six faces."""
    middle = centre(chain, home_rad)
    box = BoxConfig(lower_m=tuple((middle - half_m).tolist()), upper_m=tuple((middle + half_m).tolist()))
    workspace = Workspace(chain, WorkspaceConfig(points=(TIP,), box=box))
    q = home_rad + np.array(around)
    clearance_m = half_m - TIP.radius_m - np.abs(centre(chain, q) - middle).max()
    assert workspace.clearances_m(standing(q[None])).min() == pytest.approx(clearance_m, abs=1e-9)
    if clearance_m < -1e-9:
        with pytest.raises(MotionError, match="face"):
            workspace.check(standing(q[None]))


def test_one_sample_outside_is_found_and_timed(home_rad: Array, all_limits: MotionLimits) -> None:
    """A path that dips through the table for a moment; its ends are fine. Slower would not help, and it says so."""
    q = np.tile(home_rad, (3, 1))
    q[1, 1] += 0.45
    motion = JointTrajectory(np.array([0.0, 2.0, 4.0]), q, np.zeros((3, 7)), np.zeros((3, 7)))
    with pytest.raises(MotionError, match=r"spoon.*beyond the plane 'table' at 2\.0") as caught:
        all_limits.check(motion)
    assert not isinstance(caught.value, TooFastError)


def test_the_demonstrators_motion_fits_into_the_tasks_workspace(all_limits: MotionLimits) -> None:
    """Scenes of both splits: at least 8 mm over the table with the spoon in the bowl, 5 cm from every other face."""
    assert all_limits.workspace is not None
    for seed, split in ((0, "train"), (1, "train"), (2, "eval"), (3, "eval")):
        q = plan(sample_scene(seed, split))[::10]  # type: ignore[arg-type]
        clearances = all_limits.workspace.clearances_m(standing(q))
        assert clearances[0].min() > 0.008
        assert clearances[0, :2].min() < 0.06, "the spoon does reach into the bowl"
        assert clearances[[1, 2, 3, 4, 6]].min() > 0.05


def test_a_spoon_on_the_table_is_refused(task: TaskConfig, chain: KinematicChain, all_limits: MotionLimits,
                                         home_rad: Array) -> None:
    """The bowl's floor is 6 mm up; a spoon that goes 1 cm lower than that is refused."""
    target = chain.forward(home_rad)
    target[2] = BOWL_FLOOR_Z_M - 0.01 + 0.22
    q = chain.inverse(target, home_rad)
    with pytest.raises(MotionError, match="table"):
        all_limits.check_places(standing(q[None]))


def test_a_link_that_is_not_there_is_named(chain: KinematicChain) -> None:
    """At construction, before anything moves."""
    config = WorkspaceConfig(points=(WorkspacePointConfig(name="x", link="spoon"),),
                             planes=(PlaneConfig(name="p", point_m=(0, 0, 0), normal=(0, 0, 1)),))
    with pytest.raises(KinematicsError, match=r"'spoon'.*panda_hand"):
        Workspace(chain, config)


@pytest.mark.parametrize(("old", "new", "says"), [
    ("  points:\n", "  dots:\n", "workspace.dots"),
    ("normal:\n    - 0.0\n    - 0.0\n    - 1.0", "normal:\n    - 0.0\n    - 0.0\n    - 0.0", "normal"),
    ("    - -0.4\n", "    - 0.5\n", "lower_m"),
])
def test_a_workspace_that_cannot_be_is_refused(old: str, new: str, says: str) -> None:
    """Unknown keys, no normal, an empty box."""
    text = task_text(load_task("scoop"))
    assert old in text
    with pytest.raises(TaskError, match=says):
        task_from_text(text.replace(old, new, 1))


@pytest.mark.parametrize("count", range(1, 10))
def test_where_the_motion_ends_is_looked_at(count: int, all_limits: MotionLimits, home_rad: Array) -> None:
    """Whatever the number of samples between those at which points in space are looked at."""
    q = np.tile(home_rad, (count, 1))
    q[-1, 1] += 0.45
    with pytest.raises(MotionError, match="table"):
        all_limits.check_places(standing(q))
