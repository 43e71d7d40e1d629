"""The simulated arm follows, stops itself, and is judged."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from ladle.errors import SimulationError
from simulation import expert
from simulation import geometry as g
from simulation.arm_ik import start_pose
from simulation.reflex_model import CONTACT, VELOCITY
from simulation.scene import build_model
from simulation.scene_sampling import sample_scene
from simulation.world import ScoopWorld


@pytest.fixture
def world() -> ScoopWorld:
    """A world at its start pose."""
    return ScoopWorld(sample_scene(2))


def test_the_world_starts_at_the_scenes_start_pose(world: ScoopWorld) -> None:
    """The tip is where the scene says, at rest, at time zero."""
    position, rotation = start_pose(world.scene)
    np.testing.assert_allclose(world.tip_pose[:3], position, atol=1e-5)
    turn = rotation * Rotation.from_quat(world.tip_pose[3:]).inv()
    assert turn.magnitude() < 1e-5
    assert world.time_s == 0.0
    assert (world.stage, world.mass_g, world.reflex, world.succeeded) == (0, 0.0, None, False)


def test_holding_still_stays_still_under_gravity(world: ScoopWorld) -> None:
    """The servo carries the arm's weight: no sag, and torques that carry something."""
    start = world.q_rad
    world.step(np.tile(start, (500, 1)))
    assert world.time_s == pytest.approx(0.5)
    np.testing.assert_allclose(world.q_rad, start, atol=1e-6)
    assert np.abs(world.tau_nm[1:4]).max() > 5.0


def test_the_arm_lags_its_set_points_by_little(world: ScoopWorld) -> None:
    """Along a demonstration the joints stay within 2 milliradians of the set-points."""
    plan = expert.plan(world.scene)
    errors = []
    for batch in np.split(plan, 105):
        world.step(batch)
        errors.append(np.abs(world.q_rad - batch[-1]).max())
    assert max(errors) < 2e-3


def test_batches_make_no_difference() -> None:
    """One call of many cycles and many calls of few give the same states, bit for bit."""
    scene = sample_scene(3)
    plan = expert.plan(scene)[:6000]
    whole, pieces = ScoopWorld(scene), ScoopWorld(scene)
    whole.step(plan)
    for batch in np.array_split(plan, 371):
        pieces.step(batch)
    np.testing.assert_array_equal(whole.q_rad, pieces.q_rad)
    assert whole.mass_g == pieces.mass_g
    np.testing.assert_array_equal(whole.render_state().puree_m, pieces.render_state().puree_m)


def test_reset_gives_the_same_run_again(world: ScoopWorld) -> None:
    """Nothing of a run is left after a reset."""
    plan = expert.plan(world.scene)
    world.step(plan)
    first = (world.mass_g, world.stage, world.succeeded, world.q_rad.tolist())
    world.reset()
    assert (world.mass_g, world.stage, world.succeeded) == (0.0, 0, False)
    world.step(plan)
    assert (world.mass_g, world.stage, world.succeeded, world.q_rad.tolist()) == first


def test_a_jump_is_a_reflex_after_which_the_arm_rests(world: ScoopWorld) -> None:
    """The arm does not follow the jump, comes to rest, and stays stopped for good set-points too."""
    start = world.q_rad
    jump = start + np.array([0.0, 0.05, 0, 0, 0, 0, 0])
    world.step(np.vstack([np.tile(start, (10, 1)), np.tile(jump, (300, 1))]))
    assert world.reflex == f"{VELOCITY} (joint 2)"
    assert np.abs(world.q_rad - start).max() < 1e-3
    world.step(np.tile(jump, (200, 1)))
    assert np.abs(world.q_rad - start).max() < 1e-3
    assert world.time_s == pytest.approx(0.51)
    assert not world.succeeded


def test_pressing_on_the_table_is_a_cartesian_reflex(world: ScoopWorld) -> None:
    """The spoon hits the table beside the bowl; the arm stops near where it touched."""
    beside = np.array([0.0, -0.2 if world.scene.bowl_xy_m[1] > 0 else 0.2, -0.12])
    world.step(expert.plan(world.scene, beside))
    assert world.reflex is not None
    assert world.reflex.startswith(CONTACT)
    world.step(np.tile(world.q_rad, (500, 1)))
    assert np.abs(world.dq_rad_s).max() < 0.01
    assert world.cup_m[2] > -0.01


def test_success_needs_the_hold_and_ends_with_a_reflex(world: ScoopWorld) -> None:
    """Lifted is not yet held; a reflex afterwards takes the success back."""
    plan = expert.plan(world.scene)
    world.step(plan[:7600])
    assert world.mass_g > 2.0
    assert not world.succeeded
    world.step(plan[7600:])
    assert world.succeeded
    world.step(plan[:1])
    assert world.reflex is not None
    assert not world.succeeded


def test_a_wrong_shape_is_named(world: ScoopWorld) -> None:
    """A single set-point without its batch axis is refused with both shapes."""
    with pytest.raises(SimulationError, match=r"\(cycles, 7\), got \(7,\)"):
        world.step(world.q_rad)


def test_the_spoon_stands_at_80_degrees_to_the_hand() -> None:
    """The cup's long axis in the compiled model has the angle that the arm's joint 6 needs."""
    model = build_model(sample_scene(0))
    matrix = np.zeros(9)
    mujoco.mju_quat2Mat(matrix, model.geom("spoon_cup").quat)
    assert np.rad2deg(np.arccos(matrix.reshape(3, 3)[2, 0])) == pytest.approx(80.0)
    np.testing.assert_allclose(model.geom("spoon_cup").pos, g.CUP_CENTRE_M)
