"""robomimic's JSON template, `train.py --config FILE.json --dataset FILE.hdf5`, as a configuration of ours.

What a key means here is said once, in `SAME` (the value is taken as it is) and in `_translated` (it is computed).
Keys that have no counterpart are named in one warning; a key that robomimic does not have either is refused.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch

from ladle.errors import ConfigError
from training.compose import Composed
from training.foreign_data import compose_derived, derived_observations, derived_task, open_foreign
from training.interop.episode_set import EpisodeSet
from training.schema import PolicyConfig, did_you_mean

log = logging.getLogger(__name__)

ALGORITHM = "diffusion_policy"
OBS = "observation.modalities.obs."
RGB = "observation.encoder.rgb."
LEARNING_RATE = "algo.optim_params.policy.learning_rate."
SAME = {
    "experiment.name": "name",
    "experiment.logging.wandb_proj_name": "logging.project",
    "train.seed": "training.seed",
    "train.batch_size": "training.batch_size",
    "train.max_grad_norm": "training.max_gradient_norm",
    "algo.horizon.observation_horizon": "n_obs_steps",
    "algo.horizon.action_horizon": "n_action_steps",
    "algo.horizon.prediction_horizon": "horizon",
    "algo.unet.diffusion_step_embed_dim": "unet.step_embedding",
    "algo.unet.down_dims": "unet.down_dims",
    "algo.unet.kernel_size": "unet.kernel_size",
    "algo.unet.n_groups": "unet.groups",
    "algo.ema.power": "ema.power",
    f"{LEARNING_RATE}initial": "training.learning_rate",
    f"{LEARNING_RATE}warmup_steps": "training.warmup_steps",
    "algo.optim_params.policy.regularization.L2": "training.weight_decay",
}
# What is computed from, with robomimic's value where the file leaves it out.
COMPUTED: dict[str, Any] = {
    "algo_name": ALGORITHM, "train.data": None, "train.cuda": True, "train.num_epochs": 2000,
    "train.hdf5_filter_key": None, "train.output_dir": None, "experiment.epoch_every_n_steps": 100,
    "experiment.validate": False, "experiment.save.every_n_epochs": 50, "experiment.logging.log_wandb": False,
    "algo.ddpm.enabled": True, "algo.ddim.enabled": False, "algo.unet.enabled": True, "algo.ema.enabled": True,
    "algo.optim_params.policy.optimizer_type": "adamw", f"{LEARNING_RATE}scheduler_type": "cosine",
    f"{LEARNING_RATE}num_cycles": 0.5, f"{OBS}low_dim": [], f"{OBS}rgb": [], f"{OBS}depth": [], f"{OBS}scan": [],
    f"{RGB}core_kwargs.backbone_class": "ResNet18Conv", f"{RGB}core_kwargs.pool_kwargs.num_kp": 32,
    f"{RGB}obs_randomizer_kwargs.crop_height": None, f"{RGB}obs_randomizer_kwargs.crop_width": None,
}
SAMPLER = ("num_train_timesteps", "num_inference_timesteps", "beta_schedule", "prediction_type")
SCHEDULES = {"squaredcos_cap_v2": "squared_cosine", "linear": "linear"}
SCHEDULERS = {"cosine": "cosine", "linear": "linear", "constant_with_warmup": "constant"}
BACKBONES = {"ResNet18Conv": "resnet18", "ResNet50Conv": "resnet50"}
# robomimic has these, and here they have no counterpart or only one value: whole sections end in a dot.
WITHOUT_COUNTERPART = (
    "experiment.logging.", "experiment.save.", "experiment.rollout.", "experiment.env", "experiment.additional_envs",
    "experiment.env_meta_update_dict", "experiment.render", "experiment.render_video", "experiment.keep_all_videos",
    "experiment.video_skip", "experiment.ckpt_path", "experiment.validation_epoch_every_n_steps", "experiment.mse.",
    "train.normalize_weights_by_ds_size", "train.num_data_workers", "train.hdf5_cache_mode", "train.hdf5_use_swmr",
    "train.hdf5_load_next_obs", "train.hdf5_normalize_obs", "train.hdf5_validation_filter_key", "train.seq_length",
    "train.pad_seq_length", "train.frame_stack", "train.pad_frame_stack", "train.dataset_keys", "train.action_keys",
    "train.action_config", "train.action_config.", "train.goal_mode", "train.shuffled_obs_key_groups",
    f"{LEARNING_RATE}decay_factor", f"{LEARNING_RATE}step_every_batch", f"{LEARNING_RATE}epoch_schedule",
    "algo.ddpm.clip_sample", "algo.ddim.clip_sample", "algo.ddim.set_alpha_to_one", "algo.ddim.steps_offset",
    "observation.modalities.goal.", "observation.encoder.", "meta.",
)
# Of those, values that ask for nothing; they need no warning.
NOTHING_ASKED = (None, False, [], {})


def names_template(arguments: Sequence[str]) -> bool:
    """Whether the command line has robomimic's --config."""
    return any(argument == "--config" or argument.startswith("--config=") for argument in arguments)


def compose_template(arguments: Sequence[str]) -> Composed[PolicyConfig]:
    """The configuration that the command line asks for, its data converted.

    Raises:
        ConfigError: the template is damaged, has an unknown key, or asks for what there is not.
        ReplayBufferError: the HDF5 file cannot be read.
    """
    parser = argparse.ArgumentParser(description="Train a diffusion policy from robomimic's template.")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="of Ladle's own keys")
    parser.add_argument("--config", type=Path, required=True, help="robomimic's .json")
    parser.add_argument("--dataset", type=Path, help="robomimic's .hdf5; default: train.data of the template")
    parser.add_argument("--name", help="of the run; default: experiment.name of the template")
    parser.add_argument("--fps", type=float, help="steps per second, where the data do not say")
    parsed = parser.parse_intermixed_args(list(arguments))
    given = read_template(parsed.config)
    dataset = parsed.dataset or given.get("train.data")
    if not isinstance(dataset, str | Path):
        raise ConfigError(f"{parsed.config} names no data set (train.data); pass --dataset FILE.hdf5")
    filter_key = cast("str | None", given.get("train.hdf5_filter_key"))
    episodes = open_foreign(Path(dataset), filter_key=filter_key)
    plain = configuration(given, episodes, str(parsed.config))
    if parsed.name:
        plain["name"] = parsed.name
    return compose_derived(plain, parsed.overrides, episodes, derived_task(episodes, parsed.fps), filter_key)


def read_template(path: Path) -> dict[str, Any]:
    """The template's values under dotted keys; what has no counterpart is warned about and left out.

    Raises:
        ConfigError: no such file, not JSON, another algorithm, or a key that robomimic does not have.
    """
    try:
        loaded: Any = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ConfigError(f"no template at {path}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not JSON: {error}") from error
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path}: expected a mapping of keys, got {type(loaded).__name__}")
    flat = _flatten(cast(dict[str, Any], loaded), "")
    samplers = [f"algo.{name}.{key}" for name in ("ddpm", "ddim") for key in SAMPLER]
    mapped = {*SAME, *COMPUTED, *samplers}
    others = [key for key in flat if key not in mapped]
    for key in others:
        if not _without_counterpart(key):
            _refuse_unknown(key, [*mapped, *(known.rstrip(".") for known in WITHOUT_COUNTERPART)], path)
    if ignored := [key for key in others if flat[key] not in NOTHING_ASKED]:
        log.warning("%s: without counterpart, ignored: %s", path, ", ".join(ignored))
    return {key: value for key, value in flat.items() if key in mapped}


def configuration(given: Mapping[str, Any], episodes: EpisodeSet, origin: str) -> dict[str, Any]:
    """Our configuration as a nested mapping, without the task. Raises ConfigError on what there is not."""
    values = {**COMPUTED, **given}
    _refuse(values, origin)
    flat = {ours: given[theirs] for theirs, ours in SAME.items() if theirs in given}
    flat |= {"name": given.get("experiment.name") or ALGORITHM} | _training(values) | _sampler(values, origin)
    flat["training.schedule"] = _one_of(SCHEDULERS, values[f"{LEARNING_RATE}scheduler_type"],
                                        f"{origin}: {LEARNING_RATE}scheduler_type")
    if not values["algo.ema.enabled"]:
        flat["ema.max_decay"] = 0.0
    plain: dict[str, Any] = {}
    for key, value in flat.items():
        *sections, last = key.split(".")
        inner = plain
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[last] = value
    images = cast(list[str], values[f"{OBS}rgb"])
    plain["observations"] = derived_observations(episodes, values[f"{OBS}low_dim"], images, highest_px=1 << 16)
    if images:
        plain["encoder"] = _encoder(values, origin)
    return plain


def _training(values: Mapping[str, Any]) -> dict[str, Any]:
    per_epoch = int(values["experiment.epoch_every_n_steps"])
    steps = per_epoch * int(values["train.num_epochs"])
    every = min(steps, per_epoch * int(values["experiment.save.every_n_epochs"] or values["train.num_epochs"]))
    cuda = bool(values["train.cuda"])
    if cuda and not torch.cuda.is_available():
        log.warning("train.cuda is true, but there is no GPU here: training on the CPU")
    folder = values["train.output_dir"]
    if folder is not None:
        log.warning("train.output_dir %s is not used; set training.output_dir=FOLDER for another place than results/",
                    folder)
    return {
        "training.max_steps": steps, "training.checkpoint_every": every, "training.validate_every": every,
        "training.val_ratio": 0.1 if values["experiment.validate"] else 0.0,
        "training.device": "cuda" if cuda and torch.cuda.is_available() else "cpu",
        "logging.mode": "online" if values["experiment.logging.log_wandb"] else "disabled",
    }


def _sampler(values: Mapping[str, Any], origin: str) -> dict[str, Any]:
    name = "ddim" if values["algo.ddim.enabled"] else "ddpm"
    if bool(values["algo.ddim.enabled"]) == bool(values["algo.ddpm.enabled"]):
        raise ConfigError(f"{origin}: enable one of algo.ddpm and algo.ddim, not both or none")
    inference = 10 if name == "ddim" else 100
    train_steps, steps, schedule, prediction = (
        values.get(f"algo.{name}.{key}", usual)
        for key, usual in zip(SAMPLER, (100, inference, "squaredcos_cap_v2", "epsilon"), strict=True))
    return {"diffusion.sampler": name, "diffusion.train_steps": train_steps, "diffusion.sample_steps": steps,
            "diffusion.schedule": _one_of(SCHEDULES, schedule, f"{origin}: algo.{name}.beta_schedule"),
            "diffusion.prediction": prediction}


def _encoder(values: Mapping[str, Any], origin: str) -> dict[str, Any]:
    crop = [values[f"{RGB}obs_randomizer_kwargs.crop_{side}"] for side in ("height", "width")]
    return {"backbone": _one_of(BACKBONES, values[f"{RGB}core_kwargs.backbone_class"], f"{origin}: backbone_class"),
            "keypoints": values[f"{RGB}core_kwargs.pool_kwargs.num_kp"],
            "crop_px": crop if None not in crop else None, "shift_px": 0, "brightness": 0.0}


def _refuse(values: Mapping[str, Any], origin: str) -> None:
    """What is asked for must be what there is."""
    there: dict[str, Any] = {
        "algo_name": ALGORITHM, "algo.unet.enabled": True, "algo.optim_params.policy.optimizer_type": "adamw",
        f"{LEARNING_RATE}num_cycles": 0.5, f"{OBS}depth": [], f"{OBS}scan": [],
    }
    for key, only in there.items():
        if values[key] != only:
            raise ConfigError(f"{origin}: {key} is {json.dumps(values[key])}, here there is only {json.dumps(only)}")


def _refuse_unknown(key: str, known: Sequence[str], path: Path) -> None:
    """Name the first part of the key that there is not, with its nearest neighbour."""
    sections = sorted({section for name in known for section in _with_sections(name)})
    unknown = next((section for section in _with_sections(key) if section not in sections), None)
    if unknown is None:
        raise ConfigError(f"{path}: {key} is a section of robomimic's template, expected a mapping there")
    raise ConfigError(f"{path}: robomimic's template has no key {unknown!r}{did_you_mean(unknown, sections)}")


def _with_sections(key: str) -> list[str]:
    parts = key.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _one_of(there: Mapping[str, str], value: Any, what: str) -> str:
    if value not in there:
        raise ConfigError(f"{what} is {value!r}, expected one of {', '.join(there)}")
    return there[value]


def _without_counterpart(key: str) -> bool:
    return any(f"{key}.".startswith(known) if known.endswith(".") else key == known for known in WITHOUT_COUNTERPART)


def _flatten(value: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            flat |= _flatten(cast(dict[str, Any], inner), f"{prefix}{key}.")
        elif inner != {}:
            flat[f"{prefix}{key}"] = inner
    return flat
