"""`python train.py` and `ladle train`: one run, or several with --seeds."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ladle.script import run_script


def main() -> None:
    """Entry of `python train.py`."""
    run_script(lambda: train(sys.argv[1:]))


def train(arguments: Sequence[str]) -> None:
    """Train as the command line says."""
    from app.multirun import multirun_from_arguments, names_seeds

    if names_seeds(arguments):
        multirun_from_arguments(arguments)
        return
    from app.runners import make_runner
    from training.train import train_from_arguments

    train_from_arguments(arguments, make_runner)
