"""Where the network was down the controller has ended what it held: the run goes on from there, without a step."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ladle.errors import DeploymentError
from ladle.kinematics import KinematicChain
from ladle.task import TaskConfig
from ladle_nodes.policies import SwayPolicy
from real_world_deployment.loop_state import LoopState
from simulation.reflex_model import ReflexModel

Array = NDArray[np.float64]
FAST_RAD_S, PATIENCE_S = 0.5, 2.0
SENSORS = ("has_joints", "has_camera", "has_arm")


class Network:
    """A loop that ticks every 10 ms on an arm that circles, with everything between them or nothing."""

    def __init__(self, task: TaskConfig, chain: KinematicChain, loop_bench: Any, watchdog_bench: Any,
                 home_rad: Array) -> None:
        network = self

        class DeafArm(loop_bench.PerfectArm):  # type: ignore[misc]
            """Hears nothing while the network is down."""

            def follow(self, splice: Any, now_s: float) -> None:
                """Dropped, and not told later."""
                if network.is_up:
                    super().follow(splice, now_s)

        parts = SimpleNamespace(PerfectArm=DeafArm, DownwardPolicy=lambda: SwayPolicy(("camera_1",), task.period_s))
        self.is_up, self.start_rad = True, home_rad
        self.bench = watchdog_bench.FreeBench(task, chain, parts, home_rad)
        self.bench.run(0.2)
        self.bench.loop.start(0)

    @property
    def rows(self) -> Array:
        """(n, 7) set-points, one a millisecond."""
        return np.concatenate(self.bench.arm.setpoints)

    def run_until_fast(self, at_least_s: float) -> None:
        """From then on the first instant at which a joint is faster than FAST_RAD_S."""
        self.bench.run(at_least_s)
        end_s = self.bench.now_s + PATIENCE_S
        while np.abs(np.diff(self.rows[-2:], axis=0)).max() < FAST_RAD_S / 1000.0:
            assert self.bench.now_s < end_s, self.bench.loop.detail
            self.bench.step()

    def cut(self, seconds: float, *sensors: str) -> None:
        """For so long nothing comes from these sensors; without any named, trajectories do not come through either."""
        for is_up in (False, True):
            self.is_up = is_up or bool(sensors)
            for sensor in sensors or SENSORS:
                setattr(self.bench, sensor, is_up)
            self.bench.run(0.0 if is_up else seconds)

    def run_until(self, state: LoopState) -> None:
        end_s = self.bench.now_s + PATIENCE_S
        while self.bench.loop.state is not state:
            assert self.bench.now_s < end_s, self.bench.loop.detail
            self.bench.step()


@pytest.fixture
def network(task: TaskConfig, chain: KinematicChain, loop_bench: Any, watchdog_bench: Any, home_rad: Array) -> Network:
    """A run that has just been asked for."""
    return Network(task, chain, loop_bench, watchdog_bench, home_rad)


@pytest.mark.parametrize("outage_s", [0.13, 0.2, 0.3, 0.5])
def test_an_outage_of_everything_ends_without_a_step(network: Network, outage_s: float) -> None:
    """Twice, at different places of the circle; the arm circles again after each, and no limit was broken."""
    for begin_s in (2.0, 1.13):
        network.run_until_fast(begin_s)
        holds = network.bench.loop.counts.holds
        network.cut(outage_s)
        assert network.bench.loop.counts.holds == holds + 1
        network.run_until(LoopState.RUNNING)
        network.run_until_fast(0.0)
    assert ReflexModel(network.start_rad).check(network.rows) == (len(network.rows), None)


@pytest.mark.parametrize("sensors", [("has_arm",), ("has_camera", "has_arm")], ids=["arm_unknown", "camera_stale"])
def test_an_arm_that_was_not_heard_of_may_not_have_heard_either(network: Network, sensors: tuple[str, ...]) -> None:
    """Its reports were missing, perhaps behind an alarm that is told first: it goes on from the measured joints."""
    network.run_until_fast(2.0)
    network.cut(0.2, *sensors)
    bench = network.bench
    assert bench.loop.state is LoopState.HOLD
    bench.measured = lambda q: q + 0.02
    network.run_until(LoopState.RUNNING)
    assert bench.loop.running is not None
    np.testing.assert_allclose(bench.loop.running.q_rad[0], bench.arm.q_rad([bench.now_s])[0] + 0.02, atol=1e-9)


def test_nobody_resumes_an_arm_that_may_still_move(network: Network) -> None:
    """An operator who is quicker than the arm is asked to wait."""
    network.run_until_fast(2.0)
    network.cut(0.2)
    network.bench.run(0.05)
    with pytest.raises(DeploymentError, match="not at rest yet; ask again"):
        network.bench.loop.resume(network.bench.now_s)
    network.run_until(LoopState.RUNNING)
