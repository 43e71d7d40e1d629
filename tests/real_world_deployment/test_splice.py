"""Splicing late chunks: within the limits, C2 at seams, bit for bit before the switch, at rest at the end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ladle import pose as poses
from ladle.errors import MotionError
from ladle.kinematics import KinematicChain
from ladle.policy import ActionChunk
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.controllers import JtcController, JtcMessage
from real_world_deployment.fit import fit_motion
from real_world_deployment.safety import MotionLimits
from real_world_deployment.splice import Splice, Splicer
from real_world_deployment.trajectory import JointTrajectory, at_rest
from simulation.jtc_model import JtcModel, TrajectoryMessage
from simulation.reflex_model import ReflexModel

Array = NDArray[np.float64]
CONFIG = DeploymentConfig()


@pytest.fixture(scope="module")
def splicer(chain: KinematicChain, limits: MotionLimits, home_rad: Array) -> Splicer:
    """The default splicer for pose chunks."""
    return Splicer(chain, limits, CONFIG, "pose", "pose", home_rad, 0.1)


class WanderingPolicy:
    """Chunks about a smooth random path, each with its own offset of a few mm and noise of 2 mm and 0.5 degrees."""

    def __init__(self, chain: KinematicChain, home_rad: Array, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self._home = chain.forward(home_rad)
        self._phases = self._rng.uniform(0, 2 * np.pi, (2, 3))

    def chunk(self, observed_s: float) -> ActionChunk:
        """Fifteen targets from observed_s + 0.1 on."""
        times = observed_s + 0.1 * np.arange(1, 16)
        pose = np.tile(self._home, (15, 1))
        angle = 2 * np.pi * times[:, None] * [0.21, 0.17, 0.25] + self._phases[0]
        offset = self._rng.normal(0, 0.004, 3)
        pose[:, :3] += 0.06 * (np.sin(angle) - np.sin(self._phases[0])) + offset + self._rng.normal(0, 0.002, (15, 3))
        turn = 0.15 * np.sin(0.8 * angle + self._phases[1]) + self._rng.normal(0, 0.009, (15, 3))
        pose[:, 3:] = poses.quaternion_multiply(poses.quaternion_from_rotation_vector(turn), pose[:, 3:])
        return ActionChunk(observed_s, times, {"pose": pose})


def run(splicer: Splicer, policy: WanderingPolicy, home_rad: Array,
        latencies_s: list[float]) -> list[tuple[float, Splice, JointTrajectory]]:
    """A decision every 0.4 s whose chunk is spliced after its latency: (instant, splice, plan before)."""
    running, done = at_rest(home_rad, 0.0), []
    for number, latency_s in enumerate(latencies_s):
        decision_s = 1.0 + 0.4 * number
        now_s = decision_s + latency_s
        splice = splicer.join(policy.chunk(decision_s - 0.033), running, now_s)
        done.append((now_s, splice, running))
        running = splice.trajectory
    return done


LATENCIES = st.lists(st.floats(0.0, 0.3), min_size=1, max_size=8)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), latencies_s=LATENCIES)
def test_random_chunks_make_one_smooth_motion(seed: int, latencies_s: list[float], splicer: Splicer,
                                              chain: KinematicChain, limits: MotionLimits, home_rad: Array) -> None:
    """Every plan keeps the limits and ends at rest; up to the switch it is the old plan bit for bit, at it C2."""
    for now_s, splice, before in run(splicer, WanderingPolicy(chain, home_rad, seed), home_rad, latencies_s):
        plan, switch_s = splice.trajectory, splice.switch_s
        assert now_s + CONFIG.switch_lead_s <= switch_s + 1e-6
        assert switch_s < max(now_s + CONFIG.switch_lead_s, before.start_s) + 0.0011
        limits.check(plan, switch_s)
        assert np.all(plan.dq_rad_s[-1] == 0)
        repeated = np.flatnonzero(plan.times_s < switch_s)
        held = np.searchsorted(before.times_s, plan.times_s[repeated])
        for new, old in ((plan.times_s, before.times_s), (plan.q_rad, before.q_rad), (plan.dq_rad_s, before.dq_rad_s),
                         (plan.ddq_rad_s2, before.ddq_rad_s2)):
            np.testing.assert_array_equal(new[repeated], old[held])
        around = plan.sample(switch_s + np.array([-1e-7, 1e-7]))
        assert np.abs(np.diff(around.ddq_rad_s2, axis=0)).max() < 1e-3


@pytest.mark.parametrize("distribution", ["humble", "jazzy"])
@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 10_000), latencies_s=LATENCIES, delays_s=st.lists(st.floats(0.0, 0.02), min_size=8,
                                                                            max_size=8))
def test_the_controllers_set_points_never_trip_the_reflex(
    distribution: str, seed: int, latencies_s: list[float], delays_s: list[float], splicer: Splicer,
    chain: KinematicChain, home_rad: Array,
) -> None:
    """Through the JTC model, with transport delay, the independent reflex model finds nothing; rest at the end."""
    sent: list[JtcMessage] = []
    controller = JtcController(chain.joint_names, sent.append)
    arrivals: list[tuple[float, TrajectoryMessage]] = []
    for (now_s, splice, _), delay_s in zip(
            run(splicer, WanderingPolicy(chain, home_rad, seed), home_rad, latencies_s), delays_s, strict=False):
        controller.follow(splice, now_s)
        m = sent[-1]
        assert m.times_from_start_s[0] > 0
        arrivals.append((now_s + delay_s, TrajectoryMessage(m.stamp_s, m.joint_names, m.times_from_start_s,
                                                            m.positions, m.velocities, m.accelerations)))
    jtc = JtcModel(distribution, chain.joint_names, home_rad)
    reflex, cycle, end = ReflexModel(home_rad), 900, int(1000 * (arrivals[-1][0] + 2.5))
    setpoints = []
    for arrival_s, message in [*arrivals, (end / 1000.0, None)]:
        until = int(np.ceil(arrival_s * 1000.0))
        setpoints.append(jtc.setpoints(np.arange(cycle, until) / 1000.0))
        cycle = until
        if message is not None:
            assert jtc.accept(message, arrival_s) is None
    rows = np.concatenate(setpoints)
    assert reflex.check(rows) == (len(rows), None)
    np.testing.assert_allclose(np.diff(rows[-50:], axis=0), 0.0, atol=1e-12)
    assert np.abs(rows[-1] - home_rad).max() > 1e-3


def test_the_tip_goes_where_the_chunk_says(splicer: Splicer, chain: KinematicChain, home_rad: Array) -> None:
    """A straight noise-free chunk at 5 cm/s is followed within 2.5 mm once the start from rest has faded."""
    target = np.tile(chain.forward(home_rad), (15, 1))
    times = 1.0 + 0.1 * np.arange(1, 16)
    target[:, 0] += 0.05 * np.arange(1, 16) * 0.1
    moving = splicer.join(ActionChunk(1.0, times, {"pose": target}), at_rest(home_rad, 0.0), 1.0)
    tips = chain.forward(moving.trajectory.sample(times[5:8]).q_rad)
    assert np.abs(tips[:, :3] - target[5:8, :3]).max() < 2.5e-3


def test_a_chunk_of_the_past_is_refused(splicer: Splicer, chain: KinematicChain, home_rad: Array) -> None:
    """All targets before the switch: the reason names both times."""
    chunk = WanderingPolicy(chain, home_rad, 0).chunk(1.0)
    with pytest.raises(MotionError, match="slower than its horizon"):
        splicer.join(chunk, at_rest(home_rad, 0.0), 3.0)


def test_past_targets_are_dropped(splicer: Splicer, chain: KinematicChain, home_rad: Array) -> None:
    """With 0.3 s of latency the first three targets are past."""
    chunk = WanderingPolicy(chain, home_rad, 0).chunk(1.0)
    splice = splicer.join(chunk, at_rest(home_rad, 0.0), 1.3)
    assert chunk.times_s[splice.first_element] > splice.switch_s
    assert chunk.times_s[splice.first_element - 1] <= splice.switch_s
    assert splice.first_element == 3


def test_an_unreachable_chunk_is_refused(splicer: Splicer, chain: KinematicChain, home_rad: Array) -> None:
    """Two metres away: refused, with the frame named."""
    chunk = WanderingPolicy(chain, home_rad, 0).chunk(1.0)
    far = chunk.parts["pose"].copy()
    far[:, 0] += 2.0
    with pytest.raises(MotionError, match="panda_hand cannot reach"):
        splicer.join(ActionChunk(1.0, chunk.times_s, {"pose": far}), at_rest(home_rad, 0.0), 1.0)


def test_only_the_reachable_part_is_used(splicer: Splicer, chain: KinematicChain, home_rad: Array) -> None:
    """Targets that leave the reach at the end of the chunk are left out and counted."""
    chunk = WanderingPolicy(chain, home_rad, 0).chunk(1.0)
    leaving = chunk.parts["pose"].copy()
    leaving[5:, 0] += 2.0
    splice = splicer.join(ActionChunk(1.0, chunk.times_s, {"pose": leaving}), at_rest(home_rad, 0.0), 1.0)
    assert splice.unreachable > 0


def test_a_leap_is_slowed_or_refused(splicer: Splicer, chain: KinematicChain, limits: MotionLimits,
                                     home_rad: Array) -> None:
    """Targets 25 cm away at once are approached within the limits, more slowly than asked."""
    target = np.tile(chain.forward(home_rad), (15, 1))
    target[:, 1] += 0.25
    chunk = ActionChunk(1.0, 1.0 + 0.1 * np.arange(1, 16), {"pose": target})
    splice = splicer.join(chunk, at_rest(home_rad, 0.0), 1.0)
    limits.check(splice.trajectory)


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10_000), into_s=st.floats(0.0, 1.5))
def test_stop_comes_to_rest_early(seed: int, into_s: float, splicer: Splicer, chain: KinematicChain,
                                  limits: MotionLimits, home_rad: Array) -> None:
    """From any instant of a motion the stop keeps the limits, is C2 and is never longer than it must."""
    _, splice, _ = run(splicer, WanderingPolicy(chain, home_rad, seed), home_rad, [0.1])[0]
    now_s = splice.switch_s + into_s
    stop = splicer.stop(splice.trajectory, now_s)
    limits.check(stop.trajectory)
    assert stop.trajectory.end_s <= now_s + 1.1
    before = splice.trajectory.state(stop.switch_s)
    np.testing.assert_array_equal(stop.trajectory.state(stop.switch_s).q_rad, before.q_rad)


def test_a_message_becomes_the_plan_again(splicer: Splicer, chain: KinematicChain, home_rad: Array) -> None:
    """What a node reads from the topic has the very same instants."""
    sent: list[JtcMessage] = []
    splice = splicer.join(WanderingPolicy(chain, home_rad, 1).chunk(1.0), at_rest(home_rad, 0.0), 1.05)
    JtcController(chain.joint_names, sent.append).follow(splice, 1.05)
    again = sent[0].to_trajectory()
    np.testing.assert_array_equal(again.times_s, splice.trajectory.times_s)
    np.testing.assert_array_equal(again.q_rad, splice.trajectory.q_rad)


def test_joint_chunks_need_no_kinematics(chain: KinematicChain, limits: MotionLimits, home_rad: Array) -> None:
    """An action part of kind joints is followed as it is."""
    splicer = Splicer(chain, limits, CONFIG, "arm", "joints", home_rad, 0.1)
    target = home_rad + 0.02 * np.arange(1, 16)[:, None] * 0.1
    splice = splicer.join(ActionChunk(0.0, 1.0 + 0.1 * np.arange(1, 16), {"arm": target}), at_rest(home_rad, 0.0), 1.0)
    assert np.abs(splice.trajectory.sample(1.7).q_rad[0] - target[6]).max() < 2e-3
    with pytest.raises(MotionError, match="no part 'arm'"):
        splicer.join(ActionChunk(0.0, 1.0 + 0.1 * np.arange(1, 16), {"pose": target}), at_rest(home_rad, 0.0), 1.0)


def test_targets_are_sent_earlier_by_the_tracking_delay(chain: KinematicChain, limits: MotionLimits,
                                                        home_rad: Array) -> None:
    """For an arm that follows 0.1 s late the plan is the one of targets that are due 0.1 s earlier."""
    targets = {"arm": home_rad + 0.002 * np.arange(1, 16)[:, None]}
    prompt, late = (Splicer(chain, limits, replace(CONFIG, tracking_delay_s=delay_s), "arm", "joints", home_rad, 0.1)
                    for delay_s in (0.0, 0.1))
    times_s = 1.0 + 0.1 * np.arange(1, 16)
    expected = prompt.join(ActionChunk(0.0, times_s, targets), at_rest(home_rad, 0.0), 1.0).trajectory
    found = late.join(ActionChunk(0.0, times_s + 0.1, targets), at_rest(home_rad, 0.0), 1.0).trajectory
    np.testing.assert_allclose(found.times_s, expected.times_s)
    np.testing.assert_allclose(found.q_rad, expected.q_rad, atol=1e-9)


def test_what_has_been_is_repeated(chain: KinematicChain, limits: MotionLimits, home_rad: Array) -> None:
    """By a stop and by the next chunk: a controller whose clock is behind has yet to carry it out."""
    splicer = Splicer(chain, limits, CONFIG, "arm", "joints", home_rad, 0.1)
    chunk = ActionChunk(0.0, 1.0 + 0.1 * np.arange(1, 16), {"arm": home_rad + 0.002 * np.arange(1, 16)[:, None]})
    running, now_s = splicer.join(chunk, at_rest(home_rad, 0.0), 1.0).trajectory, 1.6
    for again in (splicer.stop(running, now_s), splicer.join(chunk, running, now_s)):
        assert again.trajectory.start_s <= now_s - CONFIG.prefix_s


def test_a_plan_that_would_step_is_refused(chain: KinematicChain, limits: MotionLimits, home_rad: Array,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a fit that begins 0.1 mrad beside the running plan."""
    splicer = Splicer(chain, limits, CONFIG, "arm", "joints", home_rad, 0.1)
    monkeypatch.setattr("real_world_deployment.splice.fit_motion",
                        lambda start, *more: fit_motion(start._replace(q_rad=start.q_rad + 1e-4), *more))
    chunk = ActionChunk(0.0, 1.0 + 0.1 * np.arange(1, 16), {"arm": home_rad + 0.002 * np.arange(1, 16)[:, None]})
    with pytest.raises(MotionError, match="would step in position"):
        splicer.join(chunk, at_rest(home_rad, 0.0), 1.0)
