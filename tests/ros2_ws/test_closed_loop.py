"""The real processes: simulator, controller and policy over ROS 2."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.evaluation import RUN_FOLDER, Evaluation, evaluate_settings
from app.replay import replay
from app.run_reading import measured_and_sent
from app.up import Bringup
from ladle.errors import DeploymentError
from ladle_bringup.settings import BringupSettings

sys.path.insert(0, str(Path(__file__).parent))
from expert_episode import write_expert_episode

pytestmark = pytest.mark.slow
# The expert's motion played back in its own scene, through every process.
REPLAY = BringupSettings(policy="replay", episodes="to be said", split="train", lockstep=True, home=False, video=True)


@pytest.fixture(scope="module")
def episodes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one episode of training scene 0."""
    folder = tmp_path_factory.mktemp("episodes")
    write_expert_episode(folder, seed=0)
    return folder


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the recording of the undisturbed run lies."""
    return tmp_path_factory.mktemp("undisturbed") / RUN_FOLDER


@pytest.fixture(scope="module")
def undisturbed(episodes: Path, recorded: Path) -> Evaluation:
    """The run that others are compared with."""
    return evaluate_settings(replace(REPLAY, episodes=str(episodes)), recorded.parent)


def test_a_recorded_motion_scoops_again_through_the_jtc(undisturbed: Evaluation) -> None:
    """The loop from episode to arm is whole: same scene, same motion, a load on the spoon, no reflex, and a film."""
    assert undisturbed.successes == [True]
    assert undisturbed.scenes[0]["mass_g"] >= 2.0
    assert undisturbed.scenes[0]["reflex"] is None
    assert undisturbed.video is not None
    assert undisturbed.video.stat().st_size > 10_000


def test_a_small_load_is_delivered_where_any_is_wanted(tmp_path: Path) -> None:
    """1.3 g, shown by the expert and played back: the scene is over when they are held, and the run can be kept."""
    write_expert_episode(tmp_path / "episodes", seed=0, wished_g=1.3)
    settings = replace(REPLAY, episodes=str(tmp_path / "episodes"), video=False, any_load=True)
    found = evaluate_settings(settings, tmp_path / "run")
    assert found.successes == [True]
    assert found.scenes[0]["delivered"] is True
    assert found.scenes[0]["mass_g"] == pytest.approx(1.3, abs=0.4)
    assert found.scenes[0]["duration_s"] < 12.0
    assert evaluate_settings(settings, tmp_path / "run", keep=True) == found


def test_a_recorded_run_decides_the_same_in_a_replay(undisturbed: Evaluation, recorded: Path) -> None:
    """What the node recorded in lockstep, every decision of it, comes out again bit for bit without a robot."""
    found = replay(recorded)
    assert len(found.decisions) > 20
    assert (found.different, found.lost) == ([], 0)
    assert measured_and_sent(recorded)[2], "nothing that was sent is in the recording"


def test_a_slow_policy_changes_the_duration_and_not_the_result(
    undisturbed: Evaluation, episodes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Freezing the policy's and the controller's processes in the middle leaves every set-point as it was."""
    frozen: list[str] = []

    class Disturbed(Bringup):
        def __enter__(self) -> Bringup:
            entered = super().__enter__()
            threading.Thread(target=self._freeze, daemon=True).start()
            return entered

        def _freeze(self) -> None:
            for name in ("ladle_policy", "joint_trajectory_controller") * 4:
                child = next(child for child in self.children if child.name == name)
                time.sleep(1.2)
                if child.exit_code is not None:
                    return
                with suppress(ProcessLookupError):  # it may end meanwhile
                    os.kill(child.pid, signal.SIGSTOP)
                    time.sleep(0.4)
                    os.kill(child.pid, signal.SIGCONT)
                    frozen.append(name)

    monkeypatch.setattr("app.evaluation.Bringup", Disturbed)
    disturbed = evaluate_settings(replace(REPLAY, episodes=str(episodes), video=False), tmp_path)
    assert frozen
    for key in ("setpoints_sha256", "mass_g", "duration_s", "trajectories"):
        assert disturbed.scenes[0][key] == undisturbed.scenes[0][key]


@pytest.mark.parametrize("distribution", ["humble", "master"])
def test_other_distributions_controllers_scoop_and_rest(episodes: Path, tmp_path: Path, distribution: str) -> None:
    """Fed as theirs must be: the same load, no reflex, and the spoon held still at the end."""
    run = evaluate_settings(
        replace(REPLAY, episodes=str(episodes), jtc_distribution=distribution, video=False), tmp_path)
    assert run.successes == [True]
    assert run.scenes[0]["reflex"] is None
    assert f"is a JTC of {distribution}" in (tmp_path / "logs" / "ladle_policy.log").read_text()
    times_s, joints_rad, _ = measured_and_sent(tmp_path / RUN_FOLDER)
    assert np.ptp(joints_rad[times_s > times_s[-1] - 0.1], axis=0).max() < 0.005


def test_the_ruckig_route_homes_and_scoops(episodes: Path, tmp_path: Path) -> None:
    """Homing first, then jerk-limited set-points: the same load, no reflex."""
    run = evaluate_settings(
        replace(REPLAY, episodes=str(episodes), controller="ruckig", home=True, video=False), tmp_path)
    assert run.successes == [True]
    assert "HOMING -> RUNNING" in (tmp_path / "logs" / "ladle_policy.log").read_text()


def test_a_missing_checkpoint_ends_the_run_in_one_line(tmp_path: Path) -> None:
    """The policy node's own words reach the user, and no process stays behind."""
    settings = replace(REPLAY, policy="checkpoint", checkpoint=str(tmp_path / "nowhere"), video=False)
    with pytest.raises(DeploymentError, match=r"ladle_policy ended with exit code 2: .*nowhere"):
        evaluate_settings(settings, tmp_path / "out")
