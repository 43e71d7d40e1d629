"""Writing LeRobot v3.0 with pyarrow and PyAV.

Without loss by default: numbers of any type and shape as columns, pictures as PNG (LeRobot's dtype "image"). As mp4
(dtype "video") on request: smaller, and lossy. Depth in ticks has no picture type in LeRobot that keeps 16 bits; it is
a grid of uint16.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ladle.errors import ReplayBufferError
from training.interop.episode_set import Array, Column, EpisodeSet, Streams
from training.interop.images import CODEC_NAME, PIXEL_FORMAT, png, write_video
from training.interop.lerobot_columns import arrow_column, huggingface_metadata, pandas_index_metadata
from training.interop.lerobot_layout import (
    DATA,
    DATA_FILE_MB,
    EPISODES,
    FILES_PER_CHUNK,
    INDEX_FEATURES,
    INFO,
    OWN,
    STATS,
    TASKS,
    VERSION,
    VIDEO_FILE_MB,
    VIDEOS,
    Feature,
    feature_names,
)
from training.interop.lerobot_stats import LARGEST_GRID, Stats, picture_stats, pooled, vector_stats

MEGABYTE = 1_000_000
LARGEST_RANK = 5


def write_lerobot(root: Path, source: EpisodeSet, *, fps_hz: float, video: bool = False) -> None:
    """Write a data set folder, one episode after the other.

    Raises:
        ReplayBufferError: float pictures that are no bytes, pictures of odd size as video, or a stream that LeRobot
            cannot hold.
    """
    _Writer(root, source, fps_hz, video=video).run()


class _Writer:
    def __init__(self, root: Path, source: EpisodeSet, fps_hz: float, *, video: bool) -> None:
        self._root, self._source, self._fps_hz = root, source, fps_hz
        self._features = _features(source, video=video)
        self._tasks = {text: index for index, text in enumerate(dict.fromkeys(source.instructions))}
        self._rows: list[dict[str, Any]] = []
        self._stats: list[dict[str, Stats]] = []
        self._file = 0
        self._parquet: pq.ParquetWriter | None = None

    def run(self) -> None:
        try:
            for index, streams in enumerate(self._source.episodes()):
                self._append(index, streams)
        finally:
            if self._parquet is not None:
                self._parquet.close()
        self._write_meta()

    def _append(self, index: int, streams: Streams) -> None:
        start = self._rows[-1]["dataset_to_index"] if self._rows else 0
        steps = self._source.lengths[index]
        text = self._source.instructions[index]
        pictures = {feature.name: self._bytes(feature, streams, index) for feature in self._features
                    if feature.is_picture}
        row: dict[str, Any] = {"episode_index": index, "tasks": [text], "length": steps,
                               **_place("data", self._file), "dataset_from_index": start,
                               "dataset_to_index": start + steps, **_place("meta/episodes", 0)}
        stats: dict[str, Stats] = {}
        columns: dict[str, Any] = {}
        for feature in self._features:
            values = pictures.get(feature.name, streams[feature.key])
            if feature.is_picture:
                stats[feature.name] = picture_stats(values)
            elif int(np.prod(feature.shape)) <= LARGEST_GRID:
                stats[feature.name] = vector_stats(values)
            if feature.dtype == "video":
                row |= self._append_video(feature, values, index)
            else:
                columns[feature.name] = ([{"bytes": png(image), "path": None} for image in values]
                                         if feature.is_picture else values)
        indices = self._indices(index, start, steps, self._tasks[text])
        stats |= {name: vector_stats(values) for name, values in indices.items()}
        self._write_rows({**columns, **indices})
        self._rows.append(row)
        self._stats.append(stats)

    def _bytes(self, feature: Feature, streams: Streams, index: int) -> Array:
        """Pictures as bytes; floats only when nothing is lost."""
        values = streams[feature.key]
        with np.errstate(invalid="ignore"):
            as_bytes = values.astype(np.uint8)
        if not np.array_equal(as_bytes, values):
            raise ReplayBufferError(
                f"{self._source.origin}: episode {self._source.numbers[index]}: the images {feature.key!r} are floats "
                "that are not whole numbers from 0 to 255, and LeRobot keeps images as bytes; convert to .zarr or "
                ".hdf5, or scale them to 0..255 first")
        return as_bytes

    def _append_video(self, feature: Feature, images: Array, index: int) -> dict[str, Any]:
        """One file an episode."""
        chunk, file = divmod(index, FILES_PER_CHUNK)
        path = self._root / VIDEOS.format(video_key=feature.name, chunk_index=chunk, file_index=file)
        write_video(path, images, self._fps_hz)
        prefix = f"videos/{feature.name}"
        return {**_place(prefix, index), f"{prefix}/from_timestamp": 0.0,
                f"{prefix}/to_timestamp": len(images) / self._fps_hz}

    def _indices(self, index: int, start: int, steps: int, task: int) -> dict[str, Array]:
        frames = np.arange(steps, dtype=np.int64)
        found = {"timestamp": frames / self._fps_hz, "frame_index": frames, "episode_index": np.full(steps, index),
                 "index": frames + start, "task_index": np.full(steps, task)}
        return {name: values.astype(INDEX_FEATURES[name]) for name, values in found.items()}

    def _write_rows(self, columns: dict[str, Any]) -> None:
        arrays = {name: arrow_column(values) for name, values in columns.items()}
        table = pa.table(arrays).replace_schema_metadata(huggingface_metadata(self._described()))
        if self._parquet is None:
            path = self._root / _numbered(DATA, self._file)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._parquet = pq.ParquetWriter(path, table.schema, compression="zstd")
        self._parquet.write_table(table)
        if (self._root / _numbered(DATA, self._file)).stat().st_size > DATA_FILE_MB * MEGABYTE:
            self._parquet.close()
            self._parquet = None
            self._file += 1

    def _described(self) -> dict[str, dict[str, Any]]:
        """The features as meta/info.json says them."""
        described: dict[str, dict[str, Any]] = {}
        names = self._source.meta.get("names", {})
        for feature in self._features:
            entry: dict[str, Any] = {"dtype": feature.dtype, "shape": list(feature.shape),
                                     "names": names.get(feature.key)}
            if feature.is_picture:
                entry["names"] = ["height", "width", "channels"]
            elif entry["names"] is None and len(feature.shape) == 1:
                entry["names"] = [f"{feature.key}_{index}" for index in range(feature.shape[0])]
            if feature.dtype == "video":
                sizes = dict(zip(("video.height", "video.width", "video.channels"), feature.shape, strict=True))
                entry["info"] = {**sizes, "video.codec": CODEC_NAME, "video.pix_fmt": PIXEL_FORMAT,
                                 "video.is_depth_map": False, "video.fps": self._fps_hz, "has_audio": False}
            described[feature.name] = entry
        index = {name: {"dtype": dtype, "shape": [1], "names": None} for name, dtype in INDEX_FEATURES.items()}
        return {**described, **index}

    def _write_meta(self) -> None:
        source = self._source
        has_video = any(feature.dtype == "video" for feature in self._features)
        fps: float | int = int(self._fps_hz) if float(self._fps_hz).is_integer() else self._fps_hz
        info = {
            "codebase_version": VERSION, "robot_type": source.meta.get("robot_type"),
            "total_episodes": len(source.lengths), "total_frames": sum(source.lengths),
            "total_tasks": len(self._tasks), "chunks_size": FILES_PER_CHUNK, "data_files_size_in_mb": DATA_FILE_MB,
            "video_files_size_in_mb": VIDEO_FILE_MB, "fps": fps, "splits": {"train": f"0:{len(source.lengths)}"},
            "data_path": DATA, "video_path": VIDEOS if has_video else None, "features": self._described(),
            OWN: {"meta": dict(source.meta), "episodes": list(source.numbers), "columns": {
                feature.name: {"key": feature.key, "shape": list(feature.column.shape),
                               "dtype": feature.column.dtype.str} for feature in self._features}},
        }
        stats = {name: {kind: value.tolist() for kind, value in pooled([one[name] for one in self._stats]).items()}
                 for name in self._stats[0]}
        _write_json(self._root / INFO, info)
        _write_json(self._root / STATS, stats)
        self._write_tables()

    def _write_tables(self) -> None:
        tasks = pa.table({"task_index": pa.array(list(self._tasks.values()), pa.int64()),
                          "__index_level_0__": pa.array(list(self._tasks), pa.string())})
        pq.write_table(tasks.replace_schema_metadata(pandas_index_metadata()), self._root / TASKS)
        rows = [{**row, **{f"stats/{name}/{kind}": value.tolist() for name, kinds in stats.items()
                           for kind, value in kinds.items()}}
                for row, stats in zip(self._rows, self._stats, strict=True)]
        path = self._root / _numbered(EPISODES, 0)
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(rows), path)


def _features(source: EpisodeSet, *, video: bool) -> list[Feature]:
    names = feature_names(source.columns, source.meta.get("features", {}))
    if twice := sorted({name for name in names.values() if list(names.values()).count(name) > 1 or
                        name in INDEX_FEATURES or "/" in name}):
        raise ReplayBufferError(f"{source.origin}: no LeRobot feature can be named {twice[0]!r} here; rename the array")
    return [_feature(source, name, key, source.columns[key], video=video) for key, name in names.items()]


def _feature(source: EpisodeSet, name: str, key: str, column: Column, *, video: bool) -> Feature:
    if column.is_image:
        height, width, channels = column.shape
        as_video = video and channels == 3
        if as_video and (height % 2 or width % 2):
            raise ReplayBufferError(f"{source.origin}: images {key!r} are {width} x {height}, and mp4 needs even "
                                    "sizes; leave out --video")
        return Feature(name, "video" if as_video else "image", column.shape, key, column)
    if column.dtype.kind not in "biuf" or len(column.shape) > LARGEST_RANK or 0 in column.shape:
        raise ReplayBufferError(f"{source.origin}: LeRobot cannot hold {key!r}: rows of shape {column.shape} and type "
                                f"{column.dtype}; convert to .zarr or .hdf5")
    return Feature(name, column.dtype.name, column.shape or (1,), key, column)


def _place(prefix: str, index: int) -> dict[str, int]:
    chunk, file = divmod(index, FILES_PER_CHUNK)
    return {f"{prefix}/chunk_index": chunk, f"{prefix}/file_index": file}


def _numbered(pattern: str, index: int) -> str:
    chunk, file = divmod(index, FILES_PER_CHUNK)
    return pattern.format(chunk_index=chunk, file_index=file)


def _write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=4))
