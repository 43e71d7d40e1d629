"""`ladle bench proof NAME`: a whole training with rollouts, which may be stopped and gone on with, and its curve."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.benchmarks.datasets import pusht_path
from app.benchmarks.proof_scoop import SCOOP_PROOFS
from app.runners import make_runner
from ladle.atomic import replace_file
from ladle.errors import ConfigError
from training.resume import CHECKPOINTS
from training.run_log import LOG_NAME, read_log
from training.train import run

log = logging.getLogger("ladle.bench")

CURVE_JSON, CURVE_PNG = "curve.json", "curve.png"
LAST = 10  # evaluations that the paper averages


@dataclass(frozen=True)
class Proof:
    """A training configuration, and what it has to reach; None where nothing is promised."""

    config: str
    max_score: float | None = None
    mean_score: float | None = None


PROOFS: Mapping[str, Proof] = {
    "pusht_state": Proof("pusht_state_proof", 0.95, 0.91),
    "pusht_image": Proof("pusht_image_proof"),
    "pusht_image_gpu": Proof("pusht_image_gpu_proof", 0.91, 0.84),
}


@dataclass(frozen=True)
class Curve:
    """What a run has reached so far.

    Attributes:
        steps, scores, successes, wall_s, cpu_s: one entry an evaluation; times are of the whole run so far.
        max_score: over all of them. mean_score: over the last ten, None before there are ten.
    """

    name: str
    steps: tuple[int, ...]
    scores: tuple[float, ...]
    successes: tuple[float, ...]
    wall_s: tuple[float, ...]
    cpu_s: tuple[float, ...]
    max_score: float | None
    mean_score: float | None
    reached: bool | None


def prove(name: str, output: Path, *, resume: bool = False, dataset: Path | None = None,
          overrides: Sequence[str] = ()) -> Curve:
    """Train, or go on with it, and write output/curve.json and output/curve.png.

    Raises:
        ConfigError: an unknown proof, or a folder with a run in it and no `resume`.
    """
    if name not in PROOFS:
        raise ConfigError(f"no proof named {name!r}; there are {', '.join((*PROOFS, *SCOOP_PROOFS))}")
    if not resume and (output / CHECKPOINTS).exists():
        raise ConfigError(f"{output} holds a run already; go on with it by --resume, or choose another --output")
    try:
        run([f"task.dataset_path={dataset or pusht_path()}", f"training.output_dir={output}", *overrides],
            PROOFS[name].config, make_runner=make_runner)
    finally:
        if (output / LOG_NAME).is_file():
            write_curve(curve_of(name, read_log(output)), output)
    return curve_of(name, read_log(output))


def curve_of(name: str, rows: Sequence[Mapping[str, float]]) -> Curve:
    """The evaluations among the rows of a run log."""
    found = [row for row in rows if "rollout_score" in row]
    scores = tuple(row["rollout_score"] for row in found)
    highest = max(scores, default=None)
    mean = float(np.mean(scores[-LAST:])) if len(scores) >= LAST else None
    proof, reached = PROOFS[name], None
    if highest is not None and mean is not None and proof.max_score is not None and proof.mean_score is not None:
        reached = highest >= proof.max_score and mean >= proof.mean_score
    return Curve(name, tuple(int(row["step"]) + 1 for row in found), scores,
                 tuple(row["rollout_success"] for row in found), tuple(row["wall_s"] for row in found),
                 tuple(row["cpu_s"] for row in found), highest, mean, reached)


def one_line(curve: Curve) -> str:
    """What the user is told."""
    if curve.max_score is None:
        return f"{curve.name}: no evaluation yet"
    proof, mean = PROOFS[curve.name], curve.mean_score
    mean_text = f"mean of the last {LAST} {mean:.3f}" if mean is not None else f"{len(curve.scores)} evaluations"
    aim = "" if proof.max_score is None else f" (to reach: {proof.max_score} and {proof.mean_score})"
    return (f"{curve.name}: max {curve.max_score:.3f}, {mean_text}{aim} after {curve.steps[-1]} steps, "
            f"{curve.wall_s[-1] / 60:.1f} min, {curve.cpu_s[-1] / 60:.1f} CPU min")


def write_curve(curve: Curve, output: Path) -> None:
    """curve.json and curve.png."""
    with replace_file(output / CURVE_JSON) as partial:
        partial.write_text(json.dumps(asdict(curve), indent=2) + "\n")
    if curve.scores:
        with replace_file(output / CURVE_PNG) as partial:
            _draw(curve, partial)


def _draw(curve: Curve, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes: Any = figure.subplots()
    minutes = np.array(curve.wall_s) / 60
    axes.plot(minutes, curve.scores, "o-", label="mean score")
    axes.plot(minutes, curve.successes, ".--", label="success rate")
    if (aim := PROOFS[curve.name].max_score) is not None:
        axes.axhline(aim, color="grey", linewidth=0.8)
    axes.set(xlabel="minutes of the whole run", ylabel="score", ylim=(0, 1), title=one_line(curve))
    axes.title.set_fontsize(8)
    axes.legend(loc="lower right")
    figure.savefig(path, format="png", dpi=120)
