"""Numbers of a run: a JSON-lines file always, Weights & Biases on request.

Each line also says wall_s and cpu_s, what the run has taken so far: a run that was stopped and goes on counts the time
of all its parts, steps that were lost and done again included.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from ladle.atomic import replace_file
from ladle.errors import ConfigError
from training.schema import LoggingSection

LOG_NAME = "logs.json.txt"
WANDB_ID_NAME = "wandb_id.txt"


class RunLog:
    """Appends one JSON object a line to <folder>/logs.json.txt and passes it on to wandb. A context manager.

    Args:
        resume_step: lines from this step on are dropped: they will be written again.
    """

    def __init__(self, folder: Path, section: LoggingSection, config: Mapping[str, Any], resume_step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / LOG_NAME
        self._wall_s, self._cpu_s = time_taken_s(folder)
        self._wall_s -= time.monotonic()
        self._cpu_s -= process_cpu_s()
        if path.exists():
            _truncate(path, resume_step)
        self._file = path.open("a", buffering=1)
        self._wandb = _start_wandb(folder, section, config, resume_step)

    def write(self, row: Mapping[str, float]) -> None:
        """One line; `step` is mandatory."""
        line = {**row, "wall_s": round(self._wall_s + time.monotonic(), 2),
                "cpu_s": round(self._cpu_s + process_cpu_s(), 2)}
        self._file.write(json.dumps(line) + "\n")
        if self._wandb is not None:
            self._wandb.log(line, step=int(row["step"]))

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._file.close()
        if self._wandb is not None:
            self._wandb.finish(exit_code=0 if kind is None else 1)


def read_log(folder: Path) -> list[dict[str, float]]:
    """All lines of a run; an unfinished last line is left out."""
    return _whole_lines((folder / LOG_NAME).read_text())


def time_taken_s(folder: Path) -> tuple[float, float]:
    """Wall-clock and processor time of a run so far, zeros before it began."""
    path = folder / LOG_NAME
    rows = read_log(folder) if path.is_file() else []
    wall_s, cpu_s = (max((row.get(key, 0.0) for row in rows), default=0.0) for key in ("wall_s", "cpu_s"))
    return wall_s, cpu_s


def process_cpu_s() -> float:
    """Processor time of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _whole_lines(text: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _truncate(path: Path, resume_step: int) -> None:
    kept = [json.dumps(row) + "\n" for row in _whole_lines(path.read_text()) if row["step"] < resume_step]
    with replace_file(path) as partial:
        partial.write_text("".join(kept))


def wandb_id(folder: Path, resume_step: int) -> str:
    """The id of the folder's run: a new one for a run from step 0, the kept one for a run that goes on."""
    path = folder / WANDB_ID_NAME
    if resume_step > 0 and path.is_file() and (kept := path.read_text().strip()):
        return kept
    fresh = secrets.token_hex(8)
    path.write_text(fresh + "\n")
    return fresh


def _start_wandb(folder: Path, section: LoggingSection, config: Mapping[str, Any], resume_step: int) -> Any:
    if section.mode == "disabled":
        return None
    try:
        import wandb
    except ImportError as error:
        raise ConfigError(f"logging.mode={section.mode} needs the package wandb; install it, or set "
                          "logging.mode=disabled") from error
    return wandb.init(project=section.project, name=section.name or folder.name, mode=section.mode, dir=folder,
                      id=wandb_id(folder, resume_step), resume="allow", config=dict(config))
