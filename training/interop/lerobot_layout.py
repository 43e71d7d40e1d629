"""What LeRobot v3.0 calls things, and how that maps to a replay buffer's keys.

    meta/info.json, meta/stats.json, meta/tasks.parquet, meta/episodes/chunk-*/file-*.parquet
    data/chunk-*/file-*.parquet                       one row a step; dtype "image" holds PNG
    videos/<feature>/chunk-*/file-*.mp4               dtype "video"

`info.json` holds Ladle's `meta` and the exact types of the columns under "ladle"; LeRobot ignores it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from ladle.errors import ReplayBufferError
from training.interop.episode_set import Column

VERSION = "v3.0"
INFO = "meta/info.json"
STATS = "meta/stats.json"
TASKS = "meta/tasks.parquet"
EPISODES = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEOS = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
FILES_PER_CHUNK, DATA_FILE_MB, VIDEO_FILE_MB = 1000, 100, 200
OWN = "ladle"

# What every data set has beside its own features; made anew from the episodes.
INDEX_FEATURES = {"timestamp": "float32", "frame_index": "int64", "episode_index": "int64", "index": "int64",
                  "task_index": "int64"}
OBSERVATION, IMAGES, STATE = "observation.", "observation.images.", "observation.state"
# Kept out of the observations: what would tell a policy its result.
NOT_OBSERVED = {"action": "action", "label": "label", "mass": "mass", "rewards": "next.reward", "dones": "next.done",
                "states": "states"}
# LeRobot's policies look for observation.state; in Ladle's own data it is the arm's pose or joints.
MAIN_STATE = ("state", "eef", "joints")


@dataclass(frozen=True)
class Feature:
    """One feature: its name, LeRobot's dtype ("video", "image", "float32", ...) and shape, and the column it is."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    key: str
    column: Column

    @property
    def is_picture(self) -> bool:
        """Whether it is stored as pictures."""
        return self.dtype in ("image", "video")


def feature_names(columns: Mapping[str, Column], known: Mapping[str, str]) -> dict[str, str]:
    """Key -> LeRobot feature. `known` are those that a LeRobot data set gave."""
    main = next((key for key in MAIN_STATE if key in columns and len(columns[key].shape) == 1), None)
    names: dict[str, str] = {}
    for key, column in columns.items():
        if key in known:
            names[key] = known[key]
        elif key in NOT_OBSERVED:
            names[key] = NOT_OBSERVED[key]
        elif "." in key:
            names[key] = key
        elif column.is_image:
            names[key] = IMAGES + key
        elif key == main:
            names[key] = STATE
        else:
            # Grids (depth in ticks, key points) are carried, but no LeRobot policy takes them as a state.
            names[key] = OBSERVATION + key if len(column.shape) <= 1 else key
    return names


def keys_of(features: Iterable[str]) -> dict[str, str]:
    """LeRobot feature -> key: the last part of its name, or the whole name where two would be the same."""
    features = list(features)
    special = {feature: key for key, feature in NOT_OBSERVED.items()}
    short = {name: special.get(name, name.removeprefix(IMAGES).removeprefix(OBSERVATION)) for name in features}
    counts = list(short.values())
    return {name: key if counts.count(key) == 1 and "/" not in key else name for name, key in short.items()}


def load_info(root: Path) -> dict[str, Any]:
    """meta/info.json. Raises ReplayBufferError when it is missing, damaged or of another version."""
    try:
        info: Any = json.loads((root / INFO).read_text())
    except FileNotFoundError as error:
        raise ReplayBufferError(f"{root} is not a LeRobot data set: it has no {INFO}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ReplayBufferError(f"{root / INFO} is damaged: {error}") from error
    if not isinstance(info, dict) or "codebase_version" not in info:
        raise ReplayBufferError(f"{root / INFO} names no codebase_version, so it is not LeRobot's or damaged; expected "
                                f"a data set of {VERSION}")
    version = cast(dict[str, Any], info)["codebase_version"]
    if version != VERSION:
        raise ReplayBufferError(f"{root} is a LeRobot data set of version {version}, expected {VERSION}; bring it to "
                                f"{VERSION} with LeRobot's convert_dataset_v21_to_v30")
    missing = [key for key in ("features", "fps", "total_episodes") if key not in info]
    if missing:
        raise ReplayBufferError(f"{root / INFO} lacks {', '.join(missing)}")
    return cast(dict[str, Any], info)


def features_of(info: Mapping[str, Any], root: Path) -> dict[str, Feature]:
    """The data set's own features by name. Raises ReplayBufferError on a type that no array can hold."""
    own = cast(dict[str, Any], info.get(OWN, {}).get("columns", {}))
    listed = {name: entry for name, entry in info["features"].items() if name not in INDEX_FEATURES}
    keys = keys_of(listed)
    features: dict[str, Feature] = {}
    for name, entry in listed.items():
        dtype, shape = str(entry["dtype"]), tuple(int(size) for size in entry["shape"])
        if name in own:
            column = Column(tuple(own[name]["shape"]), np.dtype(own[name]["dtype"]))
            features[name] = Feature(name, dtype, shape, own[name]["key"], column)
            continue
        if dtype in ("image", "video"):
            column = Column((*shape[1:], shape[0]) if _channel_first(entry, shape) else shape, np.dtype(np.uint8))
        else:
            column = Column(shape, _numeric(dtype, name, root))
        features[name] = Feature(name, dtype, shape, keys[name], column)
    return features


def _channel_first(entry: Mapping[str, Any], shape: tuple[int, ...]) -> bool:
    """Whether a picture's shape is told as (C, H, W): by the names of its axes, else by which axis is as short."""
    names: Any = entry.get("names")
    if isinstance(names, list) and len(cast(list[Any], names)) == len(shape):
        texts = [str(name) for name in cast(list[Any], names)]
        if any(text.startswith("channel") for text in texts):
            return texts[0].startswith("channel")
    return len(shape) == 3 and shape[0] in (1, 3, 4) and shape[-1] not in (1, 3, 4)


def _numeric(dtype: str, name: str, root: Path) -> np.dtype[Any]:
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = np.dtype(object)
    if found.kind not in "biuf":
        raise ReplayBufferError(f"{root}: feature {name!r} is of type {dtype!r}, expected numbers, image or video; "
                                "remove it with LeRobot's dataset tools")
    return found
