"""What lies in the places of an episode and is none, and who made it: people and other programs may have.

The users' older datasets have the same folders, actions/N, videos/N and numpy/N, and no episode.json. Only Ladle writes
frames/N.zarr, stamps/N.npz and checksums.json, and no kill leaves an actions/N of Ladle's without its episode.json.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ladle.episode_files import (
    CHECKSUMS_FILE,
    DESCRIPTION_FILE,
    PARTIAL,
    PEOPLES_FILES,
    READY,
    REPLACED,
    actions_of,
    parts_of,
)
from ladle.errors import EpisodeError

NAMED = 20


def holds_data(root: Path, number: int) -> bool:
    """Whether actions/N holds more than people's labels."""
    actions = root / actions_of(number)
    if not actions.is_dir():
        return actions.exists()
    return any(path.name not in PEOPLES_FILES and not path.name.startswith(PARTIAL) for path in actions.iterdir())


def of_another_program(root: Path, number: int) -> bool:
    """Whether something lies in the places of episode `number` that Ladle cannot have made."""
    actions = root / actions_of(number)
    videos, first_images, frames, stamps = parts_of(number)
    traces = (actions / DESCRIPTION_FILE, actions / CHECKSUMS_FILE, root / frames, root / stamps,
              root / f"{READY}{number}", root / f"{REPLACED}{number}")
    if any(path.exists() for path in traces):
        return False
    return holds_data(root, number) or (root / videos).exists() or (root / first_images).exists()


def require_no_other_program(root: Path, numbers: Iterable[int]) -> None:
    """Refuse to write episodes where another program's lie.

    Raises:
        EpisodeError: it names them.
    """
    if others := [number for number in sorted(numbers) if of_another_program(root, number)]:
        named = ", ".join(map(str, others[:NAMED])) + (", ..." if len(others) > NAMED else "")
        raise EpisodeError(f"{root} has data of another program under the number {named}, which are not replaced; "
                           "choose another --path-save, or move them away")
