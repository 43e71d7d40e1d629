"""What several seeds of a training say together: best, mean of the last ten, and the metric where the loss was least.

    python multirun_metrics.py --input results/pusht

Runs are folders with logs.json.txt; those that share a parent folder are the seeds of one setting. A metric is read at
every evaluation, a line of the log that holds it. As in the Diffusion Policy code:

    max            the best of all evaluations (min, where less is better)
    mean_last_10   mean of the last ten
    k_min_train_loss  mean of the k = 10 evaluations with the least training loss: what one would have picked without
                   looking at the metric. The loss of an evaluation is the mean over the steps since the one before, as
                   that of one step is mostly chance.

Each is given for every run, and as mean and standard deviation (divided by n - 1) over the runs.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ladle.atomic import replace_file
from ladle.errors import ConfigError
from ladle.script import run_script
from training.run_log import LOG_NAME, read_log

log = logging.getLogger("ladle.multirun_metrics")

RESULT_NAME = "multirun_metrics.json"
LAST = 10
K = 10
# In this order the first that a log holds is taken. Names of the original code are understood.
USUAL_KEYS = ("rollout_score", "val_action_error", "val_loss")
OTHER_NAMES = {"test/mean_score": "rollout_score", "test_mean_score": "rollout_score"}
LESS_IS_BETTER = ("loss", "error")


@dataclass(frozen=True)
class RunMetrics:
    """One run: evaluations made, and max or min, mean_last_10, k_min_train_loss."""

    evaluations: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class Group:
    """Runs of one setting.

    Attributes:
        key: the metric.
        runs: run folder's name -> its figures.
    """

    folder: Path
    key: str
    runs: Mapping[str, RunMetrics]

    def over_runs(self) -> dict[str, tuple[float, float | None]]:
        """Figure -> (mean, standard deviation) over the runs; no deviation of a single run."""
        found: dict[str, tuple[float, float | None]] = {}
        for name in next(iter(self.runs.values())).values:
            values = np.array([run.values[name] for run in self.runs.values()])
            found[name] = (float(values.mean()), float(values.std(ddof=1)) if len(values) > 1 else None)
        return found

    def as_json(self) -> dict[str, Any]:
        """For the result file."""
        return {"folder": str(self.folder), "key": self.key,
                "runs": {name: {"evaluations": run.evaluations, **run.values} for name, run in self.runs.items()},
                "over_runs": {name: {"mean": mean, "std": std} for name, (mean, std) in self.over_runs().items()}}


def main() -> None:
    """Entry of `python multirun_metrics.py`."""
    run_script(lambda: metrics_from_arguments(sys.argv[1:]))


def metrics_from_arguments(argv: Sequence[str]) -> None:
    """Aggregate, write the table to stdout and the figures as JSON."""
    parser = argparse.ArgumentParser(description="Metrics of several training runs.")
    parser.add_argument("--input", "-i", type=Path, nargs="+", required=True, help="run folders, or folders of them")
    parser.add_argument("--key", "-k", "--monitor_key", help="metric; default: rollout_score, else val_action_error")
    parser.add_argument("--output", "-o", type=Path, help=f"default: {RESULT_NAME} in the first input")
    arguments = parser.parse_args(list(argv))
    groups = aggregate(arguments.input, arguments.key)
    output = arguments.output or arguments.input[0] / RESULT_NAME
    write_json(groups, output)
    sys.stdout.write(table(groups))
    log.info("written to %s", output)


def aggregate(inputs: Sequence[Path], key: str | None = None) -> list[Group]:
    """The runs under the inputs, grouped by their parent folder.

    Raises:
        ConfigError: there is no run, or one without the metric.
    """
    by_parent: dict[Path, dict[str, list[dict[str, float]]]] = {}
    for path in sorted({path for folder in inputs for path in folder.rglob(LOG_NAME)}):
        by_parent.setdefault(path.parent.parent, {})[path.parent.name] = read_log(path.parent)
    if not by_parent:
        raise ConfigError(f"no {LOG_NAME} under {', '.join(map(str, inputs))}; give folders of training runs")
    groups: list[Group] = []
    for folder, logs in by_parent.items():
        chosen = OTHER_NAMES.get(key, key) if key else _usual_key(folder, logs)
        runs = {name: _of_run(folder / name, rows, chosen) for name, rows in logs.items()}
        groups.append(Group(folder, chosen, runs))
    return groups


def run_metrics(rows: Sequence[Mapping[str, float]], key: str) -> RunMetrics:
    """The figures of one log; at least one of its lines holds the key."""
    values: list[float] = []
    losses: list[float] = []
    since: list[float] = []
    for row in rows:
        since.append(row["train_loss"])
        if key in row:
            values.append(row[key])
            losses.append(float(np.mean(since)))
            since = []
    least = np.argsort(losses, kind="stable")[:K]
    down = key.endswith(LESS_IS_BETTER)
    return RunMetrics(len(values), {
        "min" if down else "max": float(min(values) if down else max(values)),
        f"mean_last_{LAST}": float(np.mean(values[-LAST:])),
        "k_min_train_loss": float(np.mean(np.array(values)[least])),
    })


def table(groups: Sequence[Group]) -> str:
    """One block for each setting, one line for each run, and mean ± standard deviation."""
    lines: list[str] = []
    for group in groups:
        over = group.over_runs()
        width = max(len("mean ± std"), *(len(name) for name in group.runs))
        lines.append(f"{group.folder}: {group.key}")
        lines.append(f"{'':{width}}  {'evaluations':>11}" + "".join(f"  {name:>16}" for name in over))
        for name, run in group.runs.items():
            figures = "".join(f"  {value:>16.4g}" for value in run.values.values())
            lines.append(f"{name:{width}}  {run.evaluations:>11}{figures}")
        cells = [f"{mean:.4g}" + ("" if std is None else f" ± {std:.2g}") for mean, std in over.values()]
        lines.append(f"{'mean ± std':{width}}  {'':>11}" + "".join(f"  {cell:>16}" for cell in cells))
    return "\n".join(lines) + "\n"


def write_json(groups: Sequence[Group], path: Path) -> None:
    """All figures."""
    with replace_file(path) as partial:
        partial.write_text(json.dumps({"groups": [group.as_json() for group in groups]}, indent=2) + "\n")


def _usual_key(folder: Path, logs: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    for key in USUAL_KEYS:
        if all(any(key in row for row in rows) for rows in logs.values()):
            return key
    raise ConfigError(f"the runs in {folder} share none of {', '.join(USUAL_KEYS)}; wait for their first evaluation, "
                      "or name a metric with --key")


def _of_run(folder: Path, rows: Sequence[Mapping[str, float]], key: str) -> RunMetrics:
    if not any(key in row for row in rows):
        there = sorted({name for row in rows for name in row})
        raise ConfigError(f"{folder} has no {key!r} in its log; it has {', '.join(there) or 'no line at all'}")
    return run_metrics(rows, key)
