"""Overrides as people type them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ladle.errors import ConfigError
from training.compose import compose_config
from training.schema import PolicyConfig


def classifier_path(value: str, prefix: str = "") -> str | None:
    """What training.path_classifier_state_dict becomes."""
    override = f"{prefix}training.path_classifier_state_dict={value}"
    config = compose_config(PolicyConfig, "franka_end_effector_image_obs", ["training.output_dir=a/mine", override])
    return config.config.training.path_classifier_state_dict


@pytest.mark.parametrize("path", [
    "results/mine/checkpoints/epoch=0010-x=0.9", "a,b", "my [old] {runs}/c(1)", "it's here", "~/runs", "2026",
])
@pytest.mark.parametrize("prefix", ["", "++"])
def test_a_path_needs_no_quotes(path: str, prefix: str):
    """Checkpoint folders have `=` in their names; Hydra's grammar refuses that unquoted."""
    assert classifier_path(path, prefix) == path


@pytest.mark.parametrize(("value", "path"), [
    ("'a=b'", "a=b"), ('"a,b"', "a,b"), (r"a\=b", "a=b"), ("null", None), ("${training.output_dir}/x", "a/mine/x"),
])
def test_hydras_own_spellings_stay(value: str, path: str | None):
    """Quotes, escapes, null and interpolations mean what they mean to Hydra."""
    assert classifier_path(value) == path


def test_a_mistyped_configuration_is_told_its_neighbour(tmp_path: Path):
    """And what there is, here or in the user's own folder."""
    with pytest.raises(ConfigError, match=r"^no configuration named 'pusht_lowdm'; did you mean 'pusht_lowdim'\? "
                                          r"There are: aloha, .*pusht_transformer$"):
        compose_config(PolicyConfig, "pusht_lowdm", [])
    with pytest.raises(ConfigError, match=r"^no configuration named 'mine' in .*; there are: none$"):
        compose_config(PolicyConfig, "mine.yaml", [], tmp_path)
