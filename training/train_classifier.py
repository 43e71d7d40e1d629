"""Train the stage classifier: `python train_classifier.py task.dataset_path=...`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from ladle.script import run_script
from training.classifier_training import train_stage_classifier
from training.compose import Composed, command_line, compose_config
from training.schema import ClassifierConfig

CONFIG_NAME = "classifier_training"


def run(overrides: Sequence[str], config_name: str = CONFIG_NAME, config_dir: Path | None = None) -> Path:
    """Compose the configuration and train; the folder of the last checkpoint."""
    return train_classifier(compose_config(ClassifierConfig, config_name, overrides, config_dir))


def train_classifier(composed: Composed[ClassifierConfig]) -> Path:
    """Train the classifier of a configuration, or go on with it; the folder of the last checkpoint."""
    return train_stage_classifier(composed.config, composed.output_dir)


def train_from_arguments(arguments: Sequence[str]) -> None:
    """What the command line does with Hydra's overrides and options."""
    command_line(arguments, CONFIG_NAME, "Train a stage classifier.", ClassifierConfig, train_classifier)


def main() -> None:
    """Entry of `python train_classifier.py`."""
    run_script(lambda: train_from_arguments(sys.argv[1:]))


if __name__ == "__main__":
    main()
