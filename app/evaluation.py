"""`ladle eval`: the closed loop through ROS 2 over unseen scenes, in lockstep, with its controls."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.intervals import CONFIDENCE, wilson
from app.mass_options import refuse_untold_mass
from app.mass_sweep import MassSweep, delivered_g, sweep
from app.up import Bringup
from ladle.atomic import replace_file
from ladle.errors import DeploymentError
from ladle.policy import Guidance
from ladle_bringup.description import guidance_parameters
from ladle_bringup.settings import BringupSettings

log = logging.getLogger("ladle.eval")

LOG_FILE = "eval_log.json"
RESULTS_FILE = "scenes.jsonl"
SETTINGS_FILE = "settings.json"
VIDEO_FILE = "scenes.mp4"
RUN_FOLDER = "run"
POLL_S = 0.5


@dataclass(frozen=True)
class Evaluation:
    """How one policy did.

    Attributes:
        policy: checkpoint, blind, replay or hold.
        scenes: one mapping a scene, as the simulator judged it: seed, delivered, succeeded, mass_g, stage, reflex,
            duration_s and of it homing_s (simulation time), wall_s, trajectories, state, detail, jerk_rms_rad_s3.
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

    @property
    def rate_interval(self) -> list[float]:
        """[lower, upper] of the rate."""
        return wilson(sum(self.successes), len(self.scenes))

    def one_line(self) -> str:
        """What the user is told."""
        low, high = self.rate_interval
        return (f"{sum(self.successes)} of {len(self.scenes)} scenes "
                f"({100 * CONFIDENCE:.0f} % interval {low:.0%} to {high:.0%})")

    def as_json(self) -> dict[str, Any]:
        """For eval_log.json."""
        return {"rate": self.rate, "rate_interval": self.rate_interval, "confidence": CONFIDENCE,
                "success": self.successes, "wall_s": round(sum(s["wall_s"] for s in self.scenes), 1),
                "reflexes": [scene["reflex"] for scene in self.scenes if scene["reflex"]],
                "video": str(self.video) if self.video else None, "scenes": list(self.scenes)}


def evaluate(
    checkpoint: Path, *, scenes: int = 10, first_scene: int = 0, controller: str = "jtc", controls: bool = False,
    dataset: Path | None = None, output: Path = Path("eval_output"), seed: int = 0, task: str = "scoop",
    video: bool = True, home: bool = True, guidance: Guidance | None = None, keep: bool = False,
    chunking: str = BringupSettings.chunking, latency_s: float = BringupSettings.latency_s,
    time_limit_s: float = BringupSettings.time_limit_s, speed: float = 1.0,
) -> dict[str, Evaluation]:
    """Run a checkpoint, and on request the controls, over evaluation scenes first_scene, first_scene + 1, ...

    guidance is the mass that the checkpoint, also the blind one, is asked for; a success is then within 0.75 g of it.
    With keep, a policy whose scenes were run to the end with the same settings before is not run again. latency_s is
    from a decision to its chunk, in simulation time; chunking, how the chunk then meets the running one, is for the
    checkpoint and the blind. time_limit_s is of a scene, in simulation time;
    speed is the share of the policy's own.

    Writes output/eval_log.json and per policy output/<policy>/{scenes.jsonl, scenes.mp4, run/, logs/}; `ladle replay`
    reads run/.

    Returns:
        Policy -> how it did: "checkpoint", with controls also "blind" and "replay".

    Raises:
        DeploymentError: controls without a dataset, or a node failed.
        CheckpointError: a mass is asked of a policy that was not told it.
    """
    if guidance is not None:
        refuse_untold_mass(checkpoint)
    if controls and dataset is None:
        raise DeploymentError("the replay control needs recorded episodes; pass --dataset <folder of episodes>")
    base = BringupSettings(
        task=task, checkpoint=str(checkpoint.absolute()), controller=controller, lockstep=True, split="eval",
        seed0=first_scene, scenes=scenes, seed=seed, video=video, home=home, latency_s=latency_s,
        time_limit_s=time_limit_s, speed=speed,
        episodes=str(dataset.absolute()) if dataset else "")
    found: dict[str, Evaluation] = {}
    for policy in ("checkpoint", "blind", "replay") if controls else ("checkpoint",):
        # The controls need no film: a third camera doubles the drawing.
        settings = replace(base, policy=policy, video=video and policy == "checkpoint")
        if policy != "replay":
            settings = replace(guided(settings, guidance), chunking=chunking)
        found[policy] = evaluate_settings(settings, output / policy, keep=keep)
        log.info("%s with the %s: %s", policy, controller, found[policy].one_line())
    told = {} if guidance is None else {"guidance": asdict(guidance)}
    _write_log(output / LOG_FILE, replace(base, chunking=chunking), found, told)
    return found


def evaluate_masses(
    checkpoint: Path, wishes: Sequence[Guidance], *, scenes: int = 10, first_scene: int = 0,
    controller: str = "jtc", output: Path = Path("eval_output"), seed: int = 0, task: str = "scoop",
    keep: bool = False, chunking: str = BringupSettings.chunking,
) -> MassSweep:
    """Run a checkpoint without asking for a mass, then for each wish, over the same scenes.

    A scene is over when any load is held. With keep, and of chunking, what `evaluate` says.

    Writes output/eval_log.json with every scene and the sweep's figures, and output/<target>/ as `evaluate` does.

    Raises:
        CheckpointError: the policy was not told the mass in its training.
    """
    refuse_untold_mass(checkpoint)
    base = BringupSettings(task=task, checkpoint=str(checkpoint.absolute()), controller=controller, lockstep=True,
                           split="eval", seed0=first_scene, scenes=scenes, seed=seed, any_load=True,
                           chunking=chunking)
    found: dict[str, Evaluation] = {}

    def masses_g(name: str, guidance: Guidance | None) -> NDArray[np.float64]:
        log.info("%s: %d scenes", name, scenes)
        found[name] = evaluate_settings(guided(base, guidance), output / name, keep=keep)
        return delivered_g(found[name].scenes)

    made = sweep(wishes, masses_g)
    _write_log(output / LOG_FILE, base, found, {"mass_sweep": made.as_json()})
    return made


def guided(settings: BringupSettings, guidance: Guidance | None) -> BringupSettings:
    """The settings with the mass that the policy is asked for."""
    return replace(settings, **guidance_parameters(guidance))


def evaluate_settings(settings: BringupSettings, output: Path, *, keep: bool = False) -> Evaluation:
    """One bring-up for all scenes of the settings; results go to a fresh `output`, unless they are there to keep.

    The run is recorded in output/run.

    Raises:
        DeploymentError: a node failed, or ended before all scenes were run.
    """
    said = json.dumps(asdict(settings), indent=2)
    if keep and _finished(said, settings.scenes, output):
        log.info("kept the %d scenes in %s", settings.scenes, output)
        return _evaluation(settings, output)
    for name in (SETTINGS_FILE, RESULTS_FILE, VIDEO_FILE):
        (output / name).unlink(missing_ok=True)
    for name in ("logs", RUN_FOLDER):
        shutil.rmtree(output / name, ignore_errors=True)
    output.mkdir(parents=True, exist_ok=True)
    with replace_file(output / SETTINGS_FILE) as partial:
        partial.write_text(said + "\n")
    settings = replace(settings, output=str(output.absolute()), record=str((output / RUN_FOLDER).absolute()))
    told = 0
    with Bringup(settings, log_folder=output / "logs") as bringup:
        while not bringup.ended(POLL_S):
            told = _tell(_results(output), told, settings)
    results = _results(output)
    _tell(results, told, settings)
    if len(results) != settings.scenes:
        raise DeploymentError(f"the run ended after {len(results)} of {settings.scenes} scenes; see {output / 'logs'}")
    return _evaluation(settings, output)


def _finished(said: str, scenes: int, output: Path) -> bool:
    """Whether all scenes of these settings were run; compared as text, where not-a-number equals itself."""
    path = output / SETTINGS_FILE
    return path.is_file() and path.read_text().strip() == said and len(_results(output)) == scenes


def _evaluation(settings: BringupSettings, output: Path) -> Evaluation:
    film = output / VIDEO_FILE
    return Evaluation(settings.policy, tuple(_results(output)), film if film.is_file() else None)


def _results(output: Path) -> list[dict[str, Any]]:
    path = output / RESULTS_FILE
    if not path.is_file():
        return []
    # The last line may be in the making.
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def _tell(results: list[dict[str, Any]], told: int, settings: BringupSettings) -> int:
    """One line for every new scene."""
    for scene in results[told:]:
        nothing = f"no success ({scene['state']}: {scene['detail']})"
        failure = scene["reflex"] or ("delivered, but not the wished mass" if scene["delivered"] else nothing)
        verdict = "success" if scene["succeeded"] else failure
        log.info("%s, scene %d of %d (seed %d): %s; %.1f g, %.1f s, wall %.1f s", settings.policy, scene["index"] + 1,
                 settings.scenes, scene["seed"], verdict, scene["mass_g"], scene["duration_s"], scene["wall_s"])
    return len(results)


def _write_log(path: Path, settings: BringupSettings, found: dict[str, Evaluation], more: dict[str, Any]) -> None:
    content = {
        "checkpoint": settings.checkpoint, "controller": settings.controller, "split": settings.split,
        "first_scene": settings.seed0, "scenes": settings.scenes, "seed": settings.seed,
        "latency_s": settings.latency_s, "chunking": settings.chunking, "home": settings.home,
        "speed": settings.speed_share, "time_limit_s": settings.time_limit_s, **more,
        "policies": {name: evaluation.as_json() for name, evaluation in found.items()},
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n")
