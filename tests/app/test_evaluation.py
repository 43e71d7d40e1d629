"""Counting scenes and keeping finished runs; the closed loop itself is tests/ros2_ws/test_closed_loop.py."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from app import evaluation
from app.evaluation import RESULTS_FILE, Evaluation, evaluate_settings
from ladle.errors import DeploymentError
from ladle_bringup.settings import BringupSettings

SETTINGS = BringupSettings(policy="hold", lockstep=True, split="eval", scenes=3)


def scene(index: int, *, succeeded: bool = True, delivered: bool = True) -> dict[str, Any]:
    """As the simulator judges one."""
    return {"index": index, "seed": index, "succeeded": succeeded, "delivered": delivered, "mass_g": 2.0,
            "duration_s": 5.0, "wall_s": 1.0, "reflex": None, "state": "done", "detail": ""}


class Played:
    """A bring-up that judges `scenes` scenes and ends."""

    runs: list[BringupSettings]
    scenes = 3

    def __init__(self, settings: BringupSettings, log_folder: Path) -> None:
        self._settings = settings

    def __enter__(self) -> Played:
        self.runs.append(self._settings)
        lines = "".join(json.dumps(scene(index)) + "\n" for index in range(self.scenes))
        (Path(self._settings.output) / RESULTS_FILE).write_text(lines)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Nothing to end."""

    def ended(self, timeout_s: float) -> bool:
        """At once."""
        return True


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> type[Played]:
    """In the place of the ROS nodes."""
    monkeypatch.setattr(evaluation, "Bringup", Played)
    monkeypatch.setattr(Played, "runs", [], raising=False)
    return Played


def test_a_load_that_was_not_wished_for_is_no_success():
    """Delivered, but not succeeded: it does not count, and each scene counts once."""
    found = Evaluation("checkpoint", (scene(0), scene(1, succeeded=False), scene(2, succeeded=False, delivered=False),
                                      scene(3)), None)
    assert found.successes == [True, False, False, True]
    assert found.as_json()["rate"] == 0.5
    assert found.one_line().startswith("2 of 4 scenes")


def test_a_finished_run_is_kept_for_the_same_settings_only(played: type[Played], tmp_path: Path):
    """Other settings are run anew, as is everything without keep."""
    first = evaluate_settings(SETTINGS, tmp_path, keep=True)
    assert evaluate_settings(SETTINGS, tmp_path, keep=True) == first
    assert len(played.runs) == 1
    evaluate_settings(replace(SETTINGS, seed=1), tmp_path, keep=True)
    evaluate_settings(replace(SETTINGS, seed=1), tmp_path)
    assert len(played.runs) == 3


@pytest.mark.parametrize("judged", [0, 2, 4])
def test_a_run_without_all_of_its_scenes_is_no_evaluation(judged: int, played: type[Played], tmp_path: Path,
                                                          monkeypatch: pytest.MonkeyPatch):
    """A rate over fewer scenes, or more, would be another figure; keep does not keep it."""
    monkeypatch.setattr(played, "scenes", judged)
    for _ in range(2):
        with pytest.raises(DeploymentError, match=f"ended after {judged} of 3 scenes"):
            evaluate_settings(SETTINGS, tmp_path, keep=True)
    assert len(played.runs) == 2
