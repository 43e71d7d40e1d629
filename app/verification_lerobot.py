"""The part of `ladle verify` for LeRobot data sets: every row, picture and video is decoded once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from ladle.errors import ReplayBufferError
from ladle.script import one_line
from read_sensors_utils.verification import UNREADABLE
from read_sensors_utils.video_checks import UNDECODABLE, count_frames
from training.interop.images import decoded
from training.interop.lerobot_layout import Feature, features_of, load_info
from training.interop.lerobot_read import ROWS_AT_ONCE, embedded, flattened, parquet


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
    yield from _video_faults(root, steps)


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


def _video_faults(root: Path, steps: int) -> Iterator[str]:
    cameras: dict[str, int] = {}
    for video in sorted((root / "videos").rglob("*.mp4")):
        camera = video.relative_to(root / "videos").parts[0]
        try:
            cameras[camera] = cameras.get(camera, 0) + count_frames(video)
        except UNDECODABLE as error:
            yield f"{video.relative_to(root)} cannot be decoded: {one_line(error)}"
            return
    for camera, count in cameras.items():
        if count != steps:
            yield f"the videos of {camera} decode to {count} frames, expected {steps}"
