"""Which episodes need no work: made of these recordings for this task, with the masses that data.csv says now."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ladle.episode import DESCRIPTION_FILE, MASS_FILE, EpisodeFolder
from ladle.episode_commit import edited_actions
from ladle.errors import EpisodeError
from ladle.task import TaskConfig, task_from_text
from read_sensors_utils.checksums import file_checksum, file_stats
from read_sensors_utils.find_bags import BagSource
from read_sensors_utils.masses import save_mass


def require_same_origin(sources: Mapping[int, BagSource], folder: EpisodeFolder, task: TaskConfig) -> None:
    """Compare the complete episodes with what an extraction would make them of.

    Raises:
        EpisodeError: some were made for another task file, or of another recording than bears their number now.
    """
    others: list[str] = []
    for number, source in sources.items():
        description = folder.load(number).description
        if task_from_text(str(description.get("task", "")), f"episode {number}") != task:
            raise EpisodeError(f"episode {number} in {folder.root} was made with another task file than {task.name} "
                               "is now; pass --override to make it again, or another --path-save")
        if (what := source_difference(description["source"], source)) is not None:
            others.append(f"episode {number} was made of another recording than {source.name} is now ({what})")
    if others:
        more = f", and {_listed(others[1:])} too" if len(others) > 1 else ""
        raise EpisodeError(f"{others[0]}{more}; pass --override to make all episodes of {folder.root} again, or "
                           "another --path-save")


def source_difference(made_of: Mapping[str, Any], source: BagSource) -> str | None:
    """How a recording differs from the one that episode.json tells of; None where it is the same.

    Sizes come first. A file of the same size and time of change is not read; one whose time differs, as after a copy,
    is read as far as its checksum was taken: whole up to 256 MB, else 64 MB of it.
    """
    sums = {name: total for kind in ("sha256", "sha256_of_blocks") for name, total in made_of.get(kind, {}).items()}
    if not sums:
        return None  # of an older version, which kept none
    files = {path.name: path for path in source.files}
    if changed := sorted(files.keys() ^ sums.keys()):
        return f"{changed[0]} is {'new' if changed[0] in files else 'not there'}"
    before, now = made_of.get("files", {}), file_stats(source)
    for name in files:
        if name in before and before[name]["bytes"] != now[name]["bytes"]:
            return f"{name} has {now[name]['bytes']} bytes, not {before[name]['bytes']}"
    for name, path in files.items():
        if before.get(name) != now[name] and file_checksum(path) != sums[name]:
            return f"{name} has another content"
    return None


def correct_masses(folder: EpisodeFolder, masses_g: Mapping[int, float | None]) -> dict[int, tuple[float, float]]:
    """Give the complete episodes the masses of data.csv; nothing else of them changes, labels included.

    Returns: number -> the mass before and now in grams, of those that had another one.
    """
    corrected: dict[int, tuple[float, float]] = {}
    for number, mass_g in sorted(masses_g.items()):
        episode = folder.load(number)
        before_g = episode.description.get("mass_g", episode.mass_g)
        if mass_g is None or before_g is None or before_g == mass_g:
            continue
        with edited_actions(folder.root, number) as actions:
            save_mass(actions / MASS_FILE, mass_g, len(episode))
            _describe_mass(actions / DESCRIPTION_FILE, mass_g)
        corrected[number] = (before_g, mass_g)
    return corrected


def _listed(texts: list[str]) -> str:
    return ", ".join(" ".join(text.split()[:2]) for text in texts)


def _describe_mass(path: Path, mass_g: float) -> None:
    description: dict[str, Any] = json.loads(path.read_text())
    description["mass_g"] = mass_g
    path.write_text(json.dumps(description, indent=1) + "\n")
