"""`ladle eval`: the closed loop through ROS 2 over unseen scenes, in lockstep, with its controls."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.up import Bringup
from ladle.atomic import replace_file
from ladle.errors import DeploymentError
from ladle_bringup.description import BringupSettings

log = logging.getLogger("ladle.eval")

LOG_FILE = "eval_log.json"
RESULTS_FILE = "scenes.jsonl"
VIDEO_FILE = "scenes.mp4"
POLL_S = 0.5


@dataclass(frozen=True)
class Evaluation:
    """How one policy did.

    Attributes:
        policy: checkpoint, blind, replay or hold.
        scenes: one mapping a scene, as the simulator judged it: seed, succeeded, mass_g, stage, reflex, duration_s
            (simulation time), wall_s, trajectories, state, detail.
        video: film of all scenes, None when none was asked for.
    """

    policy: str
    scenes: tuple[dict[str, Any], ...]
    video: Path | None

    @property
    def successes(self) -> list[bool]:
        """One entry per scene."""
        return [bool(scene["succeeded"]) for scene in self.scenes]

    @property
    def rate(self) -> float:
        """Share of scenes that succeeded."""
        return sum(self.successes) / len(self.scenes)

    def as_json(self) -> dict[str, Any]:
        """For eval_log.json."""
        return {"rate": self.rate, "success": self.successes, "wall_s": round(sum(s["wall_s"] for s in self.scenes), 1),
                "reflexes": [scene["reflex"] for scene in self.scenes if scene["reflex"]],
                "video": str(self.video) if self.video else None, "scenes": list(self.scenes)}


def evaluate(
    checkpoint: Path, *, scenes: int = 10, first_scene: int = 0, controller: str = "jtc", controls: bool = False,
    dataset: Path | None = None, output: Path = Path("eval_output"), seed: int = 0, task: str = "scoop",
    video: bool = True, home: bool = True,
) -> dict[str, Evaluation]:
    """Run a checkpoint, and on request the controls, over evaluation scenes first_scene, first_scene + 1, ...

    Writes output/eval_log.json and per policy output/<policy>/{scenes.jsonl, scenes.mp4, logs/}.

    Returns:
        Policy -> how it did: "checkpoint", with controls also "blind" and "replay".

    Raises:
        DeploymentError: controls without a dataset, or a node failed.
    """
    if controls and dataset is None:
        raise DeploymentError("the replay control needs recorded episodes; pass --dataset <folder of episodes>")
    base = BringupSettings(
        task=task, checkpoint=str(checkpoint.absolute()), controller=controller, lockstep=True, split="eval",
        seed0=first_scene, scenes=scenes, seed=seed, video=video, home=home,
        episodes=str(dataset.absolute()) if dataset else "")
    found: dict[str, Evaluation] = {}
    for policy in ("checkpoint", "blind", "replay") if controls else ("checkpoint",):
        # The controls need no film: a third camera doubles the drawing.
        settings = replace(base, policy=policy, video=video and policy == "checkpoint")
        found[policy] = evaluate_settings(settings, output / policy)
        log.info("%s with the %s: %d of %d scenes", policy, controller, sum(found[policy].successes), scenes)
    _write_log(output / LOG_FILE, base, found)
    return found


def evaluate_settings(settings: BringupSettings, output: Path) -> Evaluation:
    """One bring-up for all scenes of the settings; results go to a fresh `output`.

    Raises:
        DeploymentError: a node failed, or ended before all scenes were run.
    """
    for name in (RESULTS_FILE, VIDEO_FILE):
        (output / name).unlink(missing_ok=True)
    shutil.rmtree(output / "logs", ignore_errors=True)
    settings = replace(settings, output=str(output.absolute()))
    told = 0
    with Bringup(settings, log_folder=output / "logs") as bringup:
        while not bringup.ended(POLL_S):
            told = _tell(_results(output), told, settings)
    results = _results(output)
    _tell(results, told, settings)
    if len(results) != settings.scenes:
        raise DeploymentError(f"the run ended after {len(results)} of {settings.scenes} scenes; see {output / 'logs'}")
    film = output / VIDEO_FILE
    return Evaluation(settings.policy, tuple(results), film if film.is_file() else None)


def _results(output: Path) -> list[dict[str, Any]]:
    path = output / RESULTS_FILE
    if not path.is_file():
        return []
    # The last line may be in the making.
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def _tell(results: list[dict[str, Any]], told: int, settings: BringupSettings) -> int:
    """One line for every new scene."""
    for scene in results[told:]:
        failure = scene["reflex"] or f"no success ({scene['state']}: {scene['detail']})"
        verdict = "success" if scene["succeeded"] else failure
        log.info("%s, scene %d of %d (seed %d): %s; %.1f g, %.1f s, wall %.1f s", settings.policy, scene["index"] + 1,
                 settings.scenes, scene["seed"], verdict, scene["mass_g"], scene["duration_s"], scene["wall_s"])
    return len(results)


def _write_log(path: Path, settings: BringupSettings, found: dict[str, Evaluation]) -> None:
    content = {
        "checkpoint": settings.checkpoint, "controller": settings.controller, "split": settings.split,
        "first_scene": settings.seed0, "scenes": settings.scenes, "seed": settings.seed,
        "latency_s": settings.latency_s, "home": settings.home,
        "policies": {name: evaluation.as_json() for name, evaluation in found.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n")
