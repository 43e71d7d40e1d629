"""`train.py dataset.lerobot=FOLDER`: train on a LeRobot v3.0 data set as it is.

With --config-name the configuration's task and observations hold, and the data must fit them. Without it, both follow
from the data: every vector that the data call an observation, every camera, and the action as one vector.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import yaml

from ladle.errors import ConfigError
from ladle.task import load_task
from training.compose import Composed, compose_config
from training.foreign_data import (
    compose_derived,
    derived_observations,
    derived_task,
    open_foreign,
    with_replay_buffer,
)
from training.interop.episode_set import EpisodeSet
from training.interop.lerobot_layout import NOT_OBSERVED
from training.schema import PolicyConfig, did_you_mean

FOLDER, TIMES = "dataset.lerobot", "dataset.delta_timestamps"
KNOWN = [FOLDER, TIMES]
SAME_TIME_S = 1e-4  # LeRobot's own tolerance between a stamp that is asked for and one that is there
HIGHEST_IMAGE_PX = 120
DEFAULT_STEPS = 20_000


def names_lerobot(arguments: Sequence[str]) -> bool:
    """Whether the command line has a key of `dataset`."""
    return any(argument.startswith("dataset.") for argument in arguments)


def compose_lerobot(arguments: Sequence[str]) -> Composed[PolicyConfig]:
    """The configuration that the command line asks for, its data converted.

    Raises:
        ConfigError: no such key, or data that do not fit the horizon, the task or the time stamps.
        ReplayBufferError: the data set cannot be read.
    """
    parser = argparse.ArgumentParser(description="Train a diffusion policy on a LeRobot data set.")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--config-name", "-cn", help="default: task and observations follow from the data")
    parser.add_argument("--config-dir", "-cd", type=Path, help="folder of your own configurations")
    parsed = parser.parse_intermixed_args(list(arguments))
    given, overrides = _split(parsed.overrides)
    if FOLDER not in given:
        raise ConfigError(f"{TIMES} belongs to {FOLDER}; give both")
    folder = Path(given[FOLDER])
    if parsed.config_name is None:
        episodes = open_foreign(folder)
        plain = _derived(episodes)
        task = derived_task(episodes, None)
        composed = compose_derived(plain, overrides, episodes, task)
    else:
        overrides = [f"task.dataset_path={folder}", *overrides]
        composed = compose_config(PolicyConfig, parsed.config_name, overrides, parsed.config_dir)
        composed = with_replay_buffer(composed)
    if TIMES in given:
        refuse_other_times(given[TIMES], composed.config.horizon, load_task(composed.config.task.name).rate_hz)
    return composed


def refuse_other_times(text: str, horizon: int, rate_hz: float) -> None:
    """Raise ConfigError unless LeRobot's times of a window's actions [s] are `horizon` steps of 1 / rate_hz.

    They may begin before 0: LeRobot counts from the newest observation.
    """
    try:
        times_s = [float(value) for value in cast(list[Any], yaml.safe_load(text))]
    except (TypeError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{TIMES}={text}: expected a list of seconds, such as [0.0, 0.1]") from error
    if len(times_s) != horizon:
        raise ConfigError(f"{TIMES} has {len(times_s)} times, but horizon is {horizon}; they must be as many: set "
                          f"horizon={len(times_s)}, or leave out {TIMES}")
    wrong = [later - earlier for earlier, later in itertools.pairwise(times_s)
             if abs(later - earlier - 1.0 / rate_hz) > SAME_TIME_S]
    if wrong:
        raise ConfigError(f"{TIMES} has a step of {wrong[0]:g} s, but the data have {rate_hz:g} steps a second, "
                          f"{1.0 / rate_hz:.4g} s each; leave out {TIMES}: it follows from the horizon")


def _split(arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    given: dict[str, str] = {}
    others: list[str] = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not key.startswith("dataset."):
            others.append(argument)
        elif key not in KNOWN or not equals:
            raise ConfigError(f"unknown key {key!r}{did_you_mean(key, KNOWN)}")
        else:
            given[key] = value
    return given, others


def _derived(episodes: EpisodeSet) -> dict[str, Any]:
    observed = {key: column for key, column in episodes.columns.items() if key not in NOT_OBSERVED}
    low_dim = [key for key, column in observed.items() if len(column.shape) == 1]
    images = [key for key, column in observed.items() if column.is_image and column.shape[2] == 3]
    return {"name": "lerobot", "training": {"max_steps": DEFAULT_STEPS},
            "observations": derived_observations(episodes, low_dim, images, HIGHEST_IMAGE_PX)}
