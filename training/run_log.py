"""Numbers of a run: a JSON-lines file always, Weights & Biases on request."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

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
        if path.exists():
            _truncate(path, resume_step)
        self._file = path.open("a", buffering=1)
        self._wandb = _start_wandb(folder, section, config, resume_step)

    def write(self, row: Mapping[str, float]) -> None:
        """One line; `step` is mandatory."""
        self._file.write(json.dumps(dict(row)) + "\n")
        if self._wandb is not None:
            self._wandb.log(dict(row), step=int(row["step"]))

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._file.close()
        if self._wandb is not None:
            self._wandb.finish(exit_code=0 if kind is None else 1)


def read_log(folder: Path) -> list[dict[str, float]]:
    """All lines of a run; an unfinished last line is left out."""
    return _whole_lines((folder / LOG_NAME).read_text())


def _whole_lines(text: str) -> list[dict[str, float]]:
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def _truncate(path: Path, resume_step: int) -> None:
    kept = [json.dumps(row) + "\n" for row in _whole_lines(path.read_text()) if row["step"] < resume_step]
    path.write_text("".join(kept))


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
