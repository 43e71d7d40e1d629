"""How well the arm moves: one way of joining chunks against another, over the same scenes with the same checkpoint.

The baseline is the open-loop stop-and-go scheme: a chunk is sent, carried out and waited for, and the next one begins
after a lead-in of 0.5 s (`real_world_deployment/chunking.py`). Both pass the same smoothing and the same limits: the
baseline's jerk is that of stopping and going, and not of corners. What corners would add is computed beside it, and so
is what the demonstrator itself plans in these scenes: whoever does the task at its pace can hardly be smoother.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.evaluation import RUN_FOLDER, Evaluation, evaluate
from app.run_reading import Floats, measured_and_sent
from ladle.errors import ConfigError
from ladle.task import load_task
from ladle_nodes.simulator_node import SCENE_STRIDE_NS
from simulation.expert import plan
from simulation.reflex_model import CYCLE_S
from simulation.scene_sampling import sample_scene
from simulation.smoothness import JerkMeter

BASELINE = "stop_and_go"
DEMONSTRATOR = "demonstrator"
TIME_LIMIT_S = 120.0  # far beyond what either needs: none is cut short
TASK = "scoop"
RATIOS = (("task_time_ratio", "task_s"), ("scene_time_ratio", "scene_s"), ("jerk_ratio", "jerk_rms_rad_s3"))


def measure_quality(
    checkpoint: Path, output: Path, *, scenes: int, first_scene: int, chunking: str = "replace",
    baseline_speed: float = 1.0, controller: str = "jtc", seed: int = 0,
) -> dict[str, Any]:
    """Both ways over scenes first_scene, first_scene + 1, ...; scenes that were run before in `output` are kept.

    Args:
        baseline_speed: of the baseline alone, as a share: 0.5 carries out the targets of a 10 Hz task at 5 Hz.

    Returns:
        What `summary` makes of them; in the baseline's figures straight_jerk_rms_rad_s3, of its path as a trajectory
        controller joins positions alone, with straight lines, which is computed and not run: the reflex model stops at
        the first corner; and demonstrator with its jerk_rms_rad_s3, the median over these scenes, for a few plans begin
        with a twitch of the elbow.
    """
    if chunking == BASELINE:
        raise ConfigError(f"--chunking {chunking} is the baseline itself; take replace, ensemble or real_time")
    speeds = {chunking: 1.0, BASELINE: baseline_speed}
    folders = {how: output / (how if speed == 1.0 else f"{how}_{speed:g}") for how, speed in speeds.items()}
    found = {how: evaluate(checkpoint, scenes=scenes, first_scene=first_scene, controller=controller, seed=seed,
                           output=folders[how], video=False, keep=True, chunking=how, speed=speed, task=TASK,
                           time_limit_s=TIME_LIMIT_S)["checkpoint"] for how, speed in speeds.items()}
    told = summary(chunking, found[chunking], found[BASELINE])
    times_s, joints_rad, _ = measured_and_sent(folders[BASELINE] / "checkpoint" / RUN_FOLDER)
    period_s = load_task(TASK).period_s / baseline_speed
    told[BASELINE]["straight_jerk_rms_rad_s3"] = _root_mean_square([
        _straight_jerk(scene, times_s, joints_rad, period_s) for scene in found[BASELINE].scenes])
    told[DEMONSTRATOR] = {"jerk_rms_rad_s3": statistics.median(
        _demonstrated_jerk(scene["seed"]) for scene in found[BASELINE].scenes)}
    return told


def summary(chunking: str, ours: Evaluation, baseline: Evaluation) -> dict[str, Any]:
    """The figures of two evaluations of the same scenes.

    Returns:
        scenes, solved_by_both: how many there were, and over how many the figures below are.
        <chunking>, stop_and_go: successes (of all scenes), task_s (mean time from the policy's takeover to the load
            held over the rim), scene_s (the same with homing) and jerk_rms_rad_s3 (of the set-points while the policy
            moved the arm, root of the scenes' mean square).
        task_time_ratio, scene_time_ratio, jerk_ratio: ours by the baseline's; None where no scene was solved by both.
    """
    both = [index for index, solved in enumerate(zip(ours.successes, baseline.successes, strict=True)) if all(solved)]
    figures = {name: _figures(found, both) for name, found in ((chunking, ours), (BASELINE, baseline))}
    ratios = {ratio: figures[chunking][figure] / figures[BASELINE][figure] if both else None
              for ratio, figure in RATIOS}
    return {"scenes": len(ours.scenes), "solved_by_both": len(both), **figures, **ratios}


def table(found: dict[str, Any]) -> str:
    """For people."""
    ways = [name for name, value in found.items() if isinstance(value, dict)]
    lines = [f"{found['solved_by_both']} of {found['scenes']} scenes solved by both",
             f"{'':30}" + "".join(f"{way:>14}" for way in ways) + f"{'ratio':>10}"]
    for title, figure, ratio in (("successes", "successes", None), ("time per task, s", "task_s", "task_time_ratio"),
                                 ("with homing, s", "scene_s", "scene_time_ratio"),
                                 ("jerk RMS, rad/s³", "jerk_rms_rad_s3", "jerk_ratio"),
                                 ("the same by straight lines", "straight_jerk_rms_rad_s3", None)):
        value = None if ratio is None else found[ratio]
        lines.append(f"{title:30}" + "".join(_cell(found[way].get(figure)) for way in ways)
                     + ("" if value is None else f"{value:10.3f}"))
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    return f"{'-' if value is None else value if isinstance(value, int) else format(value, '.2f'):>14}"


def _figures(found: Evaluation, counted: Sequence[int]) -> dict[str, Any]:
    scenes = [found.scenes[index] for index in counted]
    return {
        "successes": sum(found.successes),
        "task_s": _mean([scene["duration_s"] - scene["homing_s"] for scene in scenes]),
        "scene_s": _mean([scene["duration_s"] for scene in scenes]),
        "jerk_rms_rad_s3": _root_mean_square([scene["jerk_rms_rad_s3"] for scene in scenes]),
    }


def _demonstrated_jerk(seed: int) -> float:
    """Of the expert's plan in an evaluation scene."""
    meter = JerkMeter()
    meter.add(plan(sample_scene(seed, "eval")))
    return meter.rms_rad_s3


def _straight_jerk(scene: dict[str, Any], times_s: Floats, joints_rad: Floats, period_s: float) -> float:
    """Of the measured path of one scene after homing, between its places every period, driven along straight lines."""
    start_s = (scene["index"] + 1) * SCENE_STRIDE_NS * 1e-9
    from_s, to_s = start_s + scene["homing_s"], start_s + scene["duration_s"]
    corners_s: Floats = np.arange(from_s, to_s, period_s)
    cycles_s: Floats = np.arange(from_s, corners_s[-1], CYCLE_S)
    corners = [np.interp(corners_s, times_s, joint) for joint in joints_rad.T]
    meter = JerkMeter()
    meter.add(np.stack([np.interp(cycles_s, corners_s, joint) for joint in corners], axis=1))
    return meter.rms_rad_s3


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _root_mean_square(values: Sequence[float]) -> float | None:
    square = _mean([value ** 2 for value in values])
    return None if square is None else math.sqrt(square)
