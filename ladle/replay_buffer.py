"""The replay buffer of the Diffusion Policy code: zarr format 2, Blosc, all episodes concatenated.

    <path>.zarr/
        data/<key>          (n_steps, ...)
        meta/episode_ends   (n_episodes,) int64, exclusive ends
        .zattrs             {"ladle": {...}} what the data is; the original code ignores it
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import numpy as np
import zarr
from numcodecs import Blosc
from numcodecs.errors import UnknownCodecError
from numpy.typing import NDArray
from zarr.storage import ZipStore

from ladle.atomic import (
    PARTIAL,
    WAIT_FOR_WRITER_S,
    real_path,
    recover_folder,
    remove_unfinished,
    replace_file,
    replace_folder,
    set_aside,
    staging_folder,
)
from ladle.errors import ReplayBufferError
from ladle.image_codecs import prepare
from ladle.replaceable import ATTRIBUTE, require_own_buffer
from ladle.stored_chunks import AbsentChunks, absent_chunks

# In the attribute: chunks of zeros were written too, so that one without a file was lost.
ALL_CHUNKS = "all_chunks"
EVERY_CHUNK: Any = {"write_empty_chunks": True}  # zarr does not export its type
CHUNK_BYTES = 2_000_000
ZIP_MODE = 0o644  # of the members, as Unix keeps it in the upper half of a member's attributes


def compressor() -> Any:
    """Zstandard with bit shuffling: the codec that the original data sets use."""
    return Blosc(cname="zstd", clevel=5, shuffle=Blosc.BITSHUFFLE)


class ReplayBuffer:
    """A finished replay buffer, read lazily."""

    def __init__(self, root: zarr.Group, path: Path) -> None:
        self._root = root
        self.path = path
        self._data = cast(zarr.Group, root["data"])
        self.episode_ends: NDArray[np.int64] = np.asarray(cast(zarr.Array[Any], root["meta/episode_ends"])[:], np.int64)
        self._check()

    @classmethod
    def open(cls, path: str | Path) -> ReplayBuffer:
        """Open a folder or a .zip.

        Raises:
            ReplayBufferError: nothing there, not a replay buffer, arrays that do not end where the episodes end, or
                chunks that were lost, as far as that can be known.
        """
        path = Path(path)
        if not path.exists() and set_aside(path).is_dir():
            path = set_aside(path)  # a kill came between the two renames of a file system that cannot exchange
        if not path.exists():
            raise ReplayBufferError(f"no replay buffer at {path}; make one with training/real_data_conversion.py")
        try:
            prepare(path)
            store = ZipStore(path, mode="r") if path.suffix == ".zip" else path
            return cls(zarr.open_group(store, mode="r"), path)
        except UnknownCodecError as error:
            raise ReplayBufferError(f"{path} is compressed with the codec {error.codec_id!r}, which is not installed; "
                                    "install the package that has it, or have the store written with Blosc") from error
        except (KeyError, FileNotFoundError, zipfile.BadZipFile) as error:
            raise ReplayBufferError(
                f"{path} is not a replay buffer (it needs data/ and meta/episode_ends): {error}"
            ) from error
        except (ValueError, TypeError, AttributeError, RuntimeError) as error:  # of zarr and json on torn files
            raise ReplayBufferError(f"{path} is damaged, its description cannot be read ({error}); copy it again, or "
                                    "make it again") from error

    def keys(self) -> list[str]:
        """Names of the arrays."""
        return sorted(self._data.array_keys())

    def __getitem__(self, key: str) -> zarr.Array[Any]:
        """The array (n_steps, ...). Raises ReplayBufferError listing what is there."""
        if key not in self._data:
            raise ReplayBufferError(f"{self.path} has no {key!r}; it has {', '.join(self.keys())}")
        return cast("zarr.Array[Any]", self._data[key])

    @property
    def n_episodes(self) -> int:
        """How many episodes there are."""
        return len(self.episode_ends)

    @property
    def n_steps(self) -> int:
        """Ticks of all episodes together."""
        return int(self.episode_ends[-1]) if self.n_episodes else 0

    @property
    def meta(self) -> dict[str, Any]:
        """What Ladle wrote about the data: task (YAML text), episodes (their numbers); {} for stores made by others."""
        return {key: value for key, value in self._attribute.items() if key != ALL_CHUNKS}

    @property
    def names_lost_chunks(self) -> bool:
        """Whether a chunk without a file is known to be lost, and such a buffer is not opened at all.

        Buffers of others, and of Ladle before it wrote chunks of zeros, do not tell.
        """
        return self._attribute.get(ALL_CHUNKS) is True

    def absent_chunks(self) -> list[AbsentChunks]:
        """The arrays that have chunks without a file; these read as zeros."""
        return absent_chunks(self.path, {f"data/{key}": self[key] for key in self.keys()})

    def left_behind(self) -> list[str]:
        """What the store holds beside the arrays of data/, the episodes' ends and Ladle's attribute, in words."""
        root = [f"{kind} {name}" for name, kind in _members(self._root) if name not in ("data", "meta")]
        meta = cast(zarr.Group, self._root["meta"])
        below = [f"{kind} meta/{name}" for name, kind in _members(meta) if name != "episode_ends"]
        nested = [f"{kind} data/{name}" for name, kind in _members(self._data) if kind == "the group"]
        attributes = [f"the attribute {name} of the store" for name in self._root.attrs.asdict() if name != ATTRIBUTE]
        return [*nested, *below, *root, *attributes]

    def episode_slice(self, index: int) -> slice:
        """Rows of one episode, index in 0..n_episodes-1."""
        if not 0 <= index < self.n_episodes:
            raise ReplayBufferError(f"{self.path} has episodes 0..{self.n_episodes - 1}, there is no {index}")
        start = int(self.episode_ends[index - 1]) if index else 0
        return slice(start, int(self.episode_ends[index]))

    @property
    def _attribute(self) -> dict[str, Any]:
        found: Any = self._root.attrs.asdict().get(ATTRIBUTE)
        return cast(dict[str, Any], found) if isinstance(found, dict) else {}

    def _check(self) -> None:
        if np.any(np.diff(self.episode_ends, prepend=0) <= 0):
            raise ReplayBufferError(f"{self.path}: meta/episode_ends must increase strictly, got {self.episode_ends}")
        lengths = {key: int(self[key].shape[0]) if self[key].ndim else 0 for key in self.keys()}
        wrong = {key: length for key, length in lengths.items() if length != self.n_steps}
        if not lengths or wrong:
            raise ReplayBufferError(
                f"{self.path}: every array must have {self.n_steps} steps, but {wrong or 'none is there'}"
            )
        if self.names_lost_chunks and (lost := self.absent_chunks()):
            raise ReplayBufferError(f"{self.path}: {lost[0]}, and all were written; copy the data set again, or make "
                                    "it again")


class ReplayBufferWriter:
    """Writes beside the target and renames at the end: a reader sees a whole buffer or none.

    Use as a context manager; an exception leaves an existing buffer untouched and nothing half-written. Only a buffer
    that Ladle wrote is replaced.
    """

    def __init__(self, path: str | Path, meta: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self._target = real_path(self.path)
        self._staging = self._target.with_name(f"{PARTIAL}{self._target.name}")
        self._partial = self._staging / self._target.name
        self._meta = {**meta, ALL_CHUNKS: True}
        self._ends: list[int] = []
        self._arrays: dict[str, zarr.Array[Any]] = {}
        self._lock = ExitStack()

    def __enter__(self) -> ReplayBufferWriter:
        require_own_buffer(self._target)
        with ExitStack() as lock:
            if not lock.enter_context(staging_folder(self._staging, WAIT_FOR_WRITER_S)):
                raise ReplayBufferError(f"{self.path} is being written by another process; let it finish, or, if its "
                                        f"machine is dead, remove {self._staging}")
            recover_folder(self._target)
            require_own_buffer(self._target)  # another one may have been at work, or may have been interrupted
            remove_unfinished(zip_of(self._target))
            self._root = zarr.open_group(self._partial, mode="a", zarr_format=2)
            self._data = self._root.create_group("data")
            self._root.attrs[ATTRIBUTE] = self._meta
            self._lock = lock.pop_all()
        return self

    def append_episode(self, streams: Mapping[str, NDArray[Any]]) -> None:
        """Append one episode, key -> (T, ...); the same keys and shapes every time."""
        lengths = {len(values) for values in streams.values()}
        if len(lengths) != 1 or 0 in lengths:
            sizes = {key: len(values) for key, values in streams.items()}
            raise ReplayBufferError(f"all streams of an episode must have the same number of ticks, got {sizes}")
        if not self._arrays:
            self._arrays = {key: self._create(key, values) for key, values in streams.items()}
        if set(streams) != set(self._arrays):
            raise ReplayBufferError(f"this episode has {sorted(streams)}, the ones before have {sorted(self._arrays)}")
        for key, values in streams.items():
            self._arrays[key].append(values.astype(self._arrays[key].dtype, copy=False))
        self._ends.append((self._ends[-1] if self._ends else 0) + lengths.pop())

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        with self._lock:
            if kind is None:
                self._finish()

    def _finish(self) -> None:
        if not self._ends:
            raise ReplayBufferError(f"there is no episode to write to {self.path}")
        ends = np.asarray(self._ends, np.int64)
        self._root.create_group("meta").create_array("episode_ends", data=ends, compressors=compressor())
        zarr.consolidate_metadata(self._partial, zarr_format=2)
        replace_folder(self._partial, self._target)

    def _create(self, key: str, values: NDArray[Any]) -> zarr.Array[Any]:
        row_bytes = max(int(values[:1].nbytes), 1)
        rows = int(np.clip(CHUNK_BYTES // row_bytes, 1, 4096))
        return self._data.create_array(
            key, shape=(0, *values.shape[1:]), chunks=(rows, *values.shape[1:]), dtype=values.dtype,
            compressors=compressor(), config=EVERY_CHUNK,
        )


def _members(group: zarr.Group) -> list[tuple[str, str]]:
    """(name, "the group" or "the array") of what lies directly below a group."""
    return [(name, "the group" if isinstance(item, zarr.Group) else "the array") for name, item in
            sorted(group.members())]


def zip_replay_buffer(path: str | Path) -> Path:
    """<name>.zarr -> <name>.zarr.zip beside it, uncompressed members (the chunks already are); returns its path."""
    path = Path(path)
    target = zip_of(path)
    with replace_file(target) as partial, zipfile.ZipFile(partial, "w", allowZip64=True) as archive:
        for file in sorted(path.rglob("*")):
            if file.is_file():
                member = zipfile.ZipInfo(file.relative_to(path).as_posix())  # no times: equal buffers, equal archives
                member.external_attr = ZIP_MODE << 16
                archive.writestr(member, file.read_bytes())
    return target


def zip_of(path: Path) -> Path:
    """Where the zip of a replay buffer lies."""
    return path.with_name(f"{path.name}.zip")
