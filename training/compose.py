"""Hydra composes a configuration from training/config and overrides; a mistyped key is told its nearest neighbour."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Generic, cast

from hydra import compose, initialize_config_dir, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ladle.errors import ConfigError
from training.schema import AnyConfig, config_text, did_you_mean, known_keys, parse_config

HYDRA_KEY = "hydra"
PATH_KEYS = ("task.dataset_path", "task.name", "training.output_dir", "training.path_classifier_state_dict",
             "encoder.pretrained", "data.cache_dir")


@dataclass(frozen=True)
class Composed(Generic[AnyConfig]):
    """A validated configuration and the folder of its run."""

    config: AnyConfig
    output_dir: Path


def compose_config(kind: type[AnyConfig], config_name: str, overrides: Sequence[str],
                   config_dir: Path | None = None) -> Composed[AnyConfig]:
    """Compose by name from training/config, or from a folder of the user's.

    The run's folder is training.output_dir, else hydra.run.dir.

    Raises:
        ConfigError: no such configuration, an unknown key, or a value that does not fit.
    """
    name = config_name.removesuffix(".yaml")
    _refuse_unknown_name(name, config_dir)
    overrides = _known_overrides(kind, overrides)
    GlobalHydra.instance().clear()
    context = (initialize_config_dir(str(config_dir.resolve()), version_base="1.3") if config_dir
               else initialize_config_module("training.config", version_base="1.3"))
    try:
        with context:
            composed = compose(name, overrides=overrides, return_hydra_config=True)
        HydraConfig.instance().set_config(composed)
        output = str(composed.hydra.run.dir)
        plain = cast(dict[str, Any], OmegaConf.to_container(_without_hydra(composed), resolve=True))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"{name}: {' '.join(str(error).split())}") from error
    config = parse_config(kind, plain, name)
    return Composed(config, Path(config.training.output_dir or output))


def command_line(argv: Sequence[str], config_name: str, description: str, kind: type[AnyConfig],
                 run: Callable[[Composed[AnyConfig]], object]) -> None:
    """Parse what Hydra's users type: [--config-name NAME] [--config-dir FOLDER] [--cfg job] [key=value ...]."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("overrides", nargs="*", metavar="key=value",
                        help="Hydra overrides, e.g. task.dataset_path=data/replay_buffer.zarr training.seed=43")
    parser.add_argument("--config-name", "-cn", default=config_name, help=f"default: {config_name}")
    parser.add_argument("--config-dir", "-cd", type=Path, help="folder of your own configurations")
    parser.add_argument("--cfg", choices=["job"], help="write the composed configuration to stdout and end")
    arguments = parser.parse_intermixed_args(list(argv))
    composed = compose_config(kind, arguments.config_name, arguments.overrides, arguments.config_dir)
    if arguments.cfg:
        sys.stdout.write(config_text(composed.config))
        return
    run(composed)


def _refuse_unknown_name(name: str, config_dir: Path | None) -> None:
    folder = Path(str(resources.files("training.config"))) if config_dir is None else config_dir
    if (folder / f"{name}.yaml").is_file():
        return
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    close = difflib.get_close_matches(name, names, n=1)
    meant = f"; did you mean {close[0]!r}? There are" if close else "; there are"
    place = "" if config_dir is None else f" in {config_dir}"
    raise ConfigError(f"no configuration named {name!r}{place}{meant}: {', '.join(names) or 'none'}")


def _without_hydra(composed: DictConfig) -> DictConfig:
    OmegaConf.set_struct(composed, False)
    copied = composed.copy()
    copied.pop(HYDRA_KEY)
    return copied


def _known_overrides(kind: type, overrides: Sequence[str]) -> list[str]:
    """The overrides, refused where the schema has no such key; one that a file leaves at its default may be set too."""
    known = known_keys(kind)
    overrides = [_with_quoted_path(text) for text in overrides]
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise ConfigError(f"cannot read an override: {str(error).splitlines()[0]}; write key=value") from error
    accepted: list[str] = []
    for override, text in zip(parsed, overrides, strict=True):
        key = str(override.key_or_group)
        generic = ".".join("0" if part.isdigit() else part for part in key.split("."))
        ours = key.split(".")[0] != HYDRA_KEY
        if ours and generic not in known:
            raise ConfigError(f"unknown key {key!r}{did_you_mean(key, known)}")
        accepted.append(f"++{text}" if ours and override.type == OverrideType.CHANGE and "0" not in generic else text)
    return accepted


def _with_quoted_path(text: str) -> str:
    """Quote a path, so that Hydra's grammar takes `=`, `,` and brackets in it; what is written in the grammar stays."""
    key, _, value = text.partition("=")
    value = value.strip()
    in_grammar = value.lower() in {"", "null"} or value[0] in "'\"" or "${" in value or "\\" in value
    if key.lstrip("+") not in PATH_KEYS or in_grammar:
        return text
    escaped = value.replace("'", "\\'")
    return f"{key}='{escaped}'"
