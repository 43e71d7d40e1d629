"""The part of `ladle verify` for LeRobot data sets: every row, picture and video is decoded once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ladle.errors import ReplayBufferError
from ladle.script import one_line
from read_sensors_utils.verification import UNREADABLE
from training.interop.images import decoded
from training.interop.lerobot_layout import Feature, features_of, load_info
from training.interop.lerobot_read import ROWS_AT_ONCE, embedded, episode_table, flattened, parquet, video_path
from training.interop.video_reader import VideoReader


def lerobot_faults(root: Path, steps: int) -> Iterator[str]:
    """One sentence for each fault of a data set that says it has so many steps."""
    pictures = {name: feature for name, feature in features_of(load_info(root), root).items()
                if feature.dtype == "image"}
    rows = 0
    for file in sorted((root / "data").rglob("*.parquet")):
        name = str(file.relative_to(root))
        faulty: set[str] = set()  # a column is named once a file
        try:
            for batch in parquet(file).iter_batches(batch_size=ROWS_AT_ONCE):
                for column in [column for column in batch.schema.names if column not in faulty]:
                    what = _column_fault(batch, column, pictures)
                    if what is not None:
                        faulty.add(column)
                        yield f"{name}: {column} {what}"
                rows += batch.num_rows
        except ReplayBufferError as error:
            yield one_line(error).partition("; ")[0].replace(str(file), name)
        except (pa.ArrowException, *UNREADABLE) as error:
            yield f"{name} cannot be read: {one_line(error)}"
    if rows != steps:
        yield f"data/ holds {rows} rows, meta/info.json says {steps}"
    yield from _video_faults(root)


def _column_fault(batch: pa.RecordBatch, column: str, pictures: Mapping[str, Feature]) -> str | None:
    values: Any = batch.column(column)
    if column in pictures:
        return _picture_fault(batch, column, pictures[column])
    flat = flattened(values)
    if pa.types.is_floating(flat.type) and not np.all(np.isfinite(flat.to_numpy(zero_copy_only=False))):
        return "is not finite"
    return None


def _picture_fault(batch: pa.RecordBatch, column: str, feature: Feature) -> str | None:
    for row, item in enumerate(batch.column(column).to_pylist()):
        episode, frame = (batch.column(index)[row].as_py() for index in ("episode_index", "frame_index"))
        where = f"in frame {frame} of episode {episode}"
        try:
            decoded(embedded(item, where), feature.column.shape, where)
        except ReplayBufferError as error:
            return one_line(error).partition("; ")[0]
    return None


def _video_faults(root: Path) -> Iterator[str]:
    """Every step has its frame, of the size that info.json says, and behind the last episode of a file comes none."""
    info, table = load_info(root), episode_table(root)
    for name, feature in features_of(info, root).items():
        if feature.dtype != "video":
            continue
        by_file: dict[Path, list[Mapping[str, Any]]] = {}
        for row in table:
            by_file.setdefault(video_path(root, info, row, name), []).append(row)
        for path, rows in by_file.items():
            try:
                yield from _file_faults(path, rows, feature, float(info["fps"]))
            except ReplayBufferError as error:  # noqa: PERF203  (each file is named)
                yield one_line(error).partition("; ")[0].replace(f"{root}/", "")


def _file_faults(path: Path, rows: Sequence[Mapping[str, Any]], feature: Feature, fps_hz: float) -> Iterator[str]:
    with closing(VideoReader(path)) as video:
        for row in sorted(rows, key=lambda row: float(row[f"videos/{feature.name}/from_timestamp"])):
            start_s = float(row[f"videos/{feature.name}/from_timestamp"])
            for frame in video.steps(start_s, int(row["length"]), fps_hz):
                if (frame.height, frame.width) != feature.column.shape[:2]:
                    yield (f"{path.name} of {feature.name} shows {frame.width} x {frame.height} pixels, expected "
                           f"{feature.column.shape[1]} x {feature.column.shape[0]}")
                    return
        if not video.is_at_end:
            yield f"{path.name} of {feature.name} goes on behind its last episode"
