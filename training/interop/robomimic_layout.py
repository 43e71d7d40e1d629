"""What robomimic's HDF5 calls things, and how that maps to a replay buffer's keys.

    data                      attributes total, env_args (JSON)
    data/demo_<n>             attribute num_samples
    data/demo_<n>/obs/<key>   (T, ...)
    data/demo_<n>/actions, rewards, dones, states
    mask/<filter key>         names of demonstrations
    ladle                     Ladle's `meta` (JSON); robomimic ignores it
"""

from __future__ import annotations

import json
from typing import Any

import h5py

DATA, MASK, OBS, NEXT_OBS, OWN = "data", "mask", "obs", "next_obs", "ladle"
DEMO = "demo_"
ACTION = "action"
# Replay-buffer key -> robomimic's name, for what is no observation.
TOP_LEVEL = {ACTION: "actions", "rewards": "rewards", "dones": "dones", "states": "states"}
# robomimic's number for gym environments: of those it knows, the one that implies no simulator's files.
UNKNOWN_ENV_TYPE = 2


def is_demo(name: str) -> bool:
    """Whether it is the name of a demonstration."""
    number = name.removeprefix(DEMO)
    return name.startswith(DEMO) and number.isascii() and number.isdigit()


def number_of(demo: str) -> int:
    """demo_17 -> 17."""
    return int(demo.removeprefix(DEMO))


def is_list_of_names(item: Any) -> bool:
    """Whether it is a filter key: a list of texts."""
    return isinstance(item, h5py.Dataset) and item.ndim == 1 and item.dtype.kind in "SO"


def dataset_name(key: str) -> str:
    """Where a stream lies inside its demonstration."""
    return TOP_LEVEL.get(key, f"{OBS}/{key}")


def key_of(name: str) -> str:
    """The replay-buffer key of a dataset inside a demonstration; the inverse of `dataset_name`."""
    known = {top: key for key, top in TOP_LEVEL.items()}
    return known.get(name, name.removeprefix(f"{OBS}/"))


def env_args(meta: Any, name: str) -> str:
    """The JSON that robomimic demands; it names no environment that could be built when the data name none."""
    known = meta.get("env_args")
    return json.dumps(known if known else {"env_name": name, "type": UNKNOWN_ENV_TYPE, "env_kwargs": {}})
