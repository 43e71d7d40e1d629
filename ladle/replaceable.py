"""What a new replay buffer may take the place of: one that Ladle wrote, judged by what it holds and not by its name."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from ladle.errors import ReplayBufferError

ATTRIBUTE = "ladle"  # of the root: every buffer of ours bears it, and no other program's
ATTRIBUTES_FILE = ".zattrs"
BUFFER_ENTRIES = frozenset({".zgroup", ATTRIBUTES_FILE, ".zmetadata", "data", "meta"})
NAMED = 5
REMEDY = "so it is not replaced; move it away, or choose another --output"


def require_own_buffer(path: Path) -> None:
    """Refuse to replace anything but a replay buffer that Ladle wrote. Nothing at the path is fine.

    Raises:
        ReplayBufferError: episodes, recordings, another program's buffer or anything else lies there.
    """
    if not path.exists():
        return
    if not path.is_dir():
        raise ReplayBufferError(f"{path} is a file and no replay buffer, {REMEDY}")
    entries = sorted(entry.name for entry in path.iterdir())
    if others := [name for name in entries if name not in BUFFER_ENTRIES]:
        more = ", ..." if len(others) > NAMED else ""
        raise ReplayBufferError(f"{path} holds {', '.join(others[:NAMED])}{more}, which belong to no replay buffer, "
                                f"{REMEDY}")
    attributes = path / ATTRIBUTES_FILE
    if not attributes.is_file() or not _is_own(attributes.read_bytes()):
        raise ReplayBufferError(f"{path} was not made by Ladle, {REMEDY}")


def require_own_zip(path: Path) -> None:
    """As `require_own_buffer`, of a .zarr.zip."""
    if not path.exists():
        return
    try:
        with zipfile.ZipFile(path) as archive:
            attributes = archive.read(ATTRIBUTES_FILE)
    except (OSError, KeyError, zipfile.BadZipFile):
        attributes = b""
    if not _is_own(attributes):
        raise ReplayBufferError(f"{path} was not made by Ladle, {REMEDY}")


def _is_own(attributes: bytes) -> bool:
    try:
        content = json.loads(attributes)
    except ValueError:
        return False
    return isinstance(content, dict) and ATTRIBUTE in content
