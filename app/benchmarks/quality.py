"""How well the arm moves: one way of joining chunks against another, over the same scenes with the same checkpoint.

The baseline is the open-loop stop-and-go scheme: a chunk is sent, carried out and waited for, and the next one begins
after a lead-in of 0.5 s (`real_world_deployment/chunking.py`). Both pass the same smoothing and the same limits, so the
baseline's jerk is that of stopping and going alone, and not of corners.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.evaluation import Evaluation, evaluate
from ladle.errors import ConfigError

BASELINE = "stop_and_go"
TIME_LIMIT_S = 90.0  # far beyond what either needs: none is cut short
FIRST_SCENE = 1000


def measure_quality(
    checkpoint: Path, output: Path, *, scenes: int, first_scene: int = FIRST_SCENE, chunking: str = "replace",
    controller: str = "jtc", seed: int = 0,
) -> dict[str, Any]:
    """Both ways over scenes first_scene, first_scene + 1, ...; scenes that were run before in `output` are kept.

    Returns:
        What `summary` makes of them.
    """
    if chunking == BASELINE:
        raise ConfigError(f"--chunking {chunking} is the baseline itself; take replace, ensemble or real_time")
    found = {how: evaluate(checkpoint, scenes=scenes, first_scene=first_scene, controller=controller, seed=seed,
                           output=output / how, video=False, keep=True, chunking=how,
                           time_limit_s=TIME_LIMIT_S)["checkpoint"] for how in (chunking, BASELINE)}
    return summary(chunking, found[chunking], found[BASELINE])


def summary(chunking: str, ours: Evaluation, baseline: Evaluation) -> dict[str, Any]:
    """The figures of two evaluations of the same scenes.

    Returns:
        scenes, solved_by_both: how many there were, and over how many the figures below are.
        <chunking>, stop_and_go: successes (of all scenes), task_s (mean time from the policy's takeover to the load held
            over the rim), scene_s (the same with homing) and jerk_rms_rad_s3 (of the set-points while the policy moved
            the arm, root of the scenes' mean square).
        task_time_ratio, scene_time_ratio, jerk_ratio: ours by the baseline's; None where no scene was solved by both.
    """
    both = [index for index, solved in enumerate(zip(ours.successes, baseline.successes, strict=True)) if all(solved)]
    figures = {name: _figures(found, both) for name, found in ((chunking, ours), (BASELINE, baseline))}
    ratios = {ratio: figures[chunking][figure] / figures[BASELINE][figure] if both else None
              for ratio, figure in (("task_time_ratio", "task_s"), ("scene_time_ratio", "scene_s"),
                                    ("jerk_ratio", "jerk_rms_rad_s3"))}
    return {"scenes": len(ours.scenes), "solved_by_both": len(both), **figures, **ratios}


def table(found: dict[str, Any]) -> str:
    """For people."""
    ways = [name for name, value in found.items() if isinstance(value, dict)]
    lines = [f"{found['solved_by_both']} of {found['scenes']} scenes solved by both",
             f"{'':18}" + "".join(f"{way:>14}" for way in ways) + f"{'ratio':>10}"]
    for title, figure, ratio in (("successes", "successes", None), ("time per task, s", "task_s", "task_time_ratio"),
                                 ("with homing, s", "scene_s", "scene_time_ratio"),
                                 ("jerk RMS, rad/s³", "jerk_rms_rad_s3", "jerk_ratio")):
        value = None if ratio is None else found[ratio]
        lines.append(f"{title:18}" + "".join(_cell(found[way][figure]) for way in ways)
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
        "jerk_rms_rad_s3": math.sqrt(square) if (square := _mean([scene["jerk_rms_rad_s3"] ** 2 for scene in scenes]))
        is not None else None,
    }


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
