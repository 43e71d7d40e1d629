"""Reading LeRobot v3.0 with pyarrow and PyAV."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ladle.errors import ReplayBufferError
from training.interop.episode_set import Array, EpisodeSet, Streams, fps_of, meta_with
from training.interop.images import decoded
from training.interop.lerobot_layout import DATA, OWN, VIDEOS, Feature, feature_names, features_of, load_info
from training.interop.video_reader import VideoReader

ROWS_AT_ONCE = 32


def read_lerobot(root: Path, keys: Collection[str] | None = None) -> EpisodeSet:
    """Open a LeRobot v3.0 data set; given keys, only these streams are read, and no other video is decoded.

    Videos come as their decoder gives them (uint8 RGB); images without loss.

    Raises:
        ReplayBufferError: not such a data set, another version, damaged, or a feature that is no array.
    """
    info = load_info(root)
    features = features_of(info, root)
    if keys is not None:
        features = {name: feature for name, feature in features.items() if feature.key in keys}
    table = episode_table(root)
    lengths = tuple(int(row["length"]) for row in table)
    meta, not_carried = _meta(info, features, table)

    def read() -> Iterator[Streams]:
        videos = _Videos(root, info)
        try:
            for row, stored in zip(table, _episodes(root, info, table, features), strict=True):
                pictures = {feature.key: videos.frames(feature, row) for feature in features.values()
                            if feature.dtype == "video"}
                yield {**stored, **pictures}
        finally:
            videos.close()

    columns = {feature.key: feature.column for feature in features.values()}
    return EpisodeSet(root, columns, lengths, meta, read, tuple(not_carried))


def episode_table(root: Path) -> list[dict[str, Any]]:
    """meta/episodes: one mapping an episode, in order, without the statistics."""
    rows: list[dict[str, Any]] = []
    for path in sorted((root / "meta" / "episodes").glob("chunk-*/file-*.parquet")):
        file = parquet(path)
        names = [name for name in file.schema_arrow.names if not name.startswith("stats/")]
        rows += cast(list[dict[str, Any]], file.read(columns=names).to_pylist())
    if not rows:
        raise ReplayBufferError(f"{root} has no episodes under meta/episodes; fetch the data set again")
    return sorted(rows, key=lambda row: int(row["episode_index"]))


def parquet(path: Path) -> pq.ParquetFile:
    """Open a parquet file. Raises ReplayBufferError when it is missing or damaged."""
    try:
        return pq.ParquetFile(path, pre_buffer=False)  # else the whole file is held, pictures included
    except (OSError, pa.ArrowInvalid) as error:
        raise ReplayBufferError(f"{path} cannot be read ({error}); fetch the data set again") from error


def data_path(root: Path, info: Mapping[str, Any], row: Mapping[str, Any]) -> Path:
    """The parquet file that holds an episode's steps."""
    pattern = str(info.get("data_path") or DATA)
    return root / pattern.format(chunk_index=int(row["data/chunk_index"]), file_index=int(row["data/file_index"]))


def video_path(root: Path, info: Mapping[str, Any], row: Mapping[str, Any], feature: str) -> Path:
    """The mp4 that holds an episode's frames of a feature."""
    pattern = str(info.get("video_path") or VIDEOS)
    return root / pattern.format(video_key=feature, chunk_index=int(row[f"videos/{feature}/chunk_index"]),
                                 file_index=int(row[f"videos/{feature}/file_index"]))


class _Videos:
    """One open video a feature; consecutive episodes of one file share it."""

    def __init__(self, root: Path, info: Mapping[str, Any]) -> None:
        self._root, self._info, self._fps_hz = root, info, float(info["fps"])
        self._open: dict[str, tuple[VideoReader, float]] = {}

    def frames(self, feature: Feature, row: Mapping[str, Any]) -> Array:
        path = video_path(self._root, self._info, row, feature.name)
        start_s = float(row[f"videos/{feature.name}/from_timestamp"])
        reader, read_until_s = self._open.get(feature.name, (None, 0.0))
        if reader is None or reader.path != path or start_s < read_until_s - 0.5 / self._fps_hz:
            if reader is not None:
                reader.close()
            reader = VideoReader(path)
        count = int(row["length"])
        frames = reader.between(start_s, count, self._fps_hz)
        self._open[feature.name] = (reader, start_s + count / self._fps_hz)
        return frames.astype(feature.column.dtype, copy=False)

    def close(self) -> None:
        for reader, _ in self._open.values():
            reader.close()


def _episodes(root: Path, info: Mapping[str, Any], table: list[dict[str, Any]],
              features: Mapping[str, Feature]) -> Iterator[dict[str, Array]]:
    """What the parquet files hold of each episode, in the order of the table."""
    stored = {name: feature for name, feature in features.items() if feature.dtype != "video"}
    by_file: dict[Path, list[dict[str, Any]]] = {}
    for row in table:
        by_file.setdefault(data_path(root, info, row), []).append(row)
    for path, rows in by_file.items():
        steps = _Rows(path, list(stored))
        for row in rows:
            found = steps.take(int(row["length"]))
            if any(index != int(row["episode_index"]) for index in set(found["episode_index"].to_pylist())):
                raise ReplayBufferError(f"{path}: the rows of episode {row['episode_index']} are not where "
                                        "meta/episodes says; fetch the data set again")
            yield {feature.key: _array(found[name], feature, f"{path}: {name}") for name, feature in stored.items()}


class _Rows:
    """The rows of a parquet file, some at a time."""

    def __init__(self, path: Path, columns: list[str]) -> None:
        self._path = path
        file = parquet(path)
        if missing := sorted(set(columns) - set(file.schema_arrow.names)):
            raise ReplayBufferError(f"{path} lacks the column {missing[0]!r} that meta/info.json names")
        self._batches = file.iter_batches(batch_size=ROWS_AT_ONCE, columns=[*columns, "episode_index"])
        self._held: list[pa.RecordBatch] = []

    def take(self, count: int) -> pa.Table:
        try:
            while sum(batch.num_rows for batch in self._held) < count:
                self._held.append(next(self._batches))
        except StopIteration as end:
            raise ReplayBufferError(f"{self._path} has fewer rows than meta/episodes says; fetch it again") from end
        except (OSError, pa.ArrowInvalid) as error:
            raise ReplayBufferError(f"{self._path} is damaged: {error}") from error
        whole = pa.Table.from_batches(self._held)
        self._held = whole.slice(count).to_batches()
        return whole.slice(0, count)


def _array(column: Any, feature: Feature, where: str) -> Array:
    """A parquet column -> (T, ...)."""
    steps = len(column)
    if feature.dtype == "image":
        images = [decoded(embedded(item, where), feature.column.shape, where) for item in column.to_pylist()]
        return np.stack(images).astype(feature.column.dtype, copy=False)
    whole = column.combine_chunks()
    values = flattened(whole)
    if whole.null_count or values.null_count:
        raise ReplayBufferError(f"{where} lacks values at some steps; mend or remove the episode")
    sizes, shape = nested_sizes(whole, where), feature.column.shape
    # Without nesting, or with one level of it, only one reading is possible.
    if len(values) != steps * int(np.prod(shape)) or (len(sizes) > 1 and sizes != feature.shape):
        found = f"rows of {'x'.join(map(str, sizes))}" if sizes else "one number"
        raise ReplayBufferError(f"{where}: {found} at each of {steps} steps, expected shape {feature.shape}; mend the "
                                "feature in meta/info.json, or fetch the data set again")
    numbers = np.asarray(values.to_numpy(zero_copy_only=False))
    return numbers.astype(feature.column.dtype, copy=False).reshape((steps, *shape))


def nested_sizes(values: Any, where: str) -> tuple[int, ...]:
    """Lengths of the lists within each step, from the outside in. Raises ReplayBufferError when they differ."""
    sizes: list[int] = []
    while is_list(values.type):
        lengths = cast(Any, pc).unique(cast(Any, pc).list_value_length(values)).to_pylist()
        if len(lengths) != 1 or lengths[0] is None:
            raise ReplayBufferError(f"{where}: the steps hold lists of the lengths {lengths[:4]}, expected one length; "
                                    "mend or remove the episode")
        sizes.append(int(lengths[0]))
        values = values.flatten()
    return tuple(sizes)


def is_list(kind: Any) -> bool:
    """Whether an arrow type nests others."""
    return bool(pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind))


def flattened(values: Any) -> Any:
    """The innermost values of nested lists; a struct, as of an image, stays what it is."""
    while is_list(values.type):
        values = values.flatten()
    return values


def embedded(item: Any, where: str) -> bytes:
    """The content of an image that lies in the parquet file. Raises ReplayBufferError when it lies elsewhere."""
    data = item.get("bytes") if isinstance(item, dict) else item
    if not isinstance(data, bytes):
        raise ReplayBufferError(f"{where}: the images lie in other files; embed them with LeRobot's own tools")
    return data


def _meta(info: Mapping[str, Any], features: Mapping[str, Feature],
          table: list[dict[str, Any]]) -> tuple[dict[str, Any], list[str]]:
    """What the data set says about itself, and what of it is lost."""
    own = cast(dict[str, Any], info.get(OWN, {}))
    meta = cast(dict[str, Any], own.get("meta", {}))
    if own and len(own.get("episodes", [])) == len(table):
        known_fps = {} if fps_of(meta) else {"fps_hz": float(info["fps"])}
        return meta_with(meta, own["episodes"], **known_fps), []
    numbers = [int(row["episode_index"]) for row in table]
    meta = {key: value for key, value in meta.items() if key not in ("episodes", "instructions")}
    columns = {feature.key: feature.column for feature in features.values()}
    usual = feature_names(columns, {})
    renamed = {feature.key: name for name, feature in features.items() if usual[feature.key] != name}
    names = {feature.key: info["features"][name].get("names") for name, feature in features.items()
             if not feature.is_picture and info["features"][name].get("names")}
    texts = [" / ".join(cast(list[str], row.get("tasks") or [])) for row in table]
    several = any(len(cast(list[str], row.get("tasks") or [])) > 1 for row in table)
    not_carried = ["which step belongs to which of an episode's several tasks"] if several else []
    return meta_with(meta, numbers, fps_hz=float(info["fps"]), instructions=texts, names=names, features=renamed,
                     robot_type=info.get("robot_type")), not_carried
