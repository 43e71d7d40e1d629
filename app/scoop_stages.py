"""From the simulated expert to a scooping policy, stage by stage; the demo and the proofs go this way.

Every stage keeps what it finds finished, so a run that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import typer

from annotator.scripted import label_from_truth
from app.quieter import quieter
from ladle.episode import EpisodeFolder
from ladle.replay_buffer import ReplayBuffer
from ladle.task import TaskConfig, load_task
from read_sensors_utils.annotations import interpolate_labels
from read_sensors_utils.extract_all import extract_all
from simulation.record import record_demonstrations
from training.real_data_conversion import convert_episodes
from training.train import run as train_policy
from training.train_classifier import run as train_classifier

TASK = "scoop"
# What a stage of its own would show on a terminal; here there is one line for each instead.
QUIET = ("ladle.extract", "ladle.conversion", "ladle.annotator", "simulation", "training", "ladle.up", "ladle.eval")

Stage = tuple[str, Callable[[], str]]
"""Name, and what does it and says in one line what it did."""


@dataclass(frozen=True)
class Recipe:
    """How much of everything.

    Attributes:
        mass_range_g: of the demonstrations; None fills the spoon every time.
        config: of the policy's training.
        classifier, policy: Hydra overrides of the two trainings.
    """

    demonstrations: int
    mass_range_g: tuple[float, float] | None = None
    config: str = "franka_end_effector_image_obs"
    classifier: tuple[str, ...] = ()
    policy: tuple[str, ...] = ()


@dataclass(frozen=True)
class Places:
    """Where everything of one run lies."""

    root: Path
    seed: int

    @property
    def bags(self) -> Path:
        """Recordings and data.csv."""
        return self.root / "bags"

    @property
    def dataset(self) -> Path:
        """Episodes."""
        return self.root / "dataset"

    @property
    def replay_buffer(self) -> Path:
        """What training reads."""
        return self.dataset / "replay_buffer.zarr"

    @property
    def classifier(self) -> Path:
        """Results of the stage classifier."""
        return self.root / "results_classifier" / f"seed_{self.seed}"

    @property
    def policy(self) -> Path:
        """Results of the policy."""
        return self.root / "results" / f"seed_{self.seed}"

    @property
    def evaluation(self) -> Path:
        """eval_log.json and the video."""
        return self.root / "evaluation" / f"seed_{self.seed}"

    @property
    def analysis(self) -> Path:
        """Figure and numbers."""
        return self.root / "analysis" / f"seed_{self.seed}"


class ScoopStages:
    """The stages up to the policy.

    Attributes:
        checkpoint: of the policy, once it was trained.
    """

    def __init__(self, places: Places, recipe: Recipe) -> None:
        self._places, self._recipe = places, recipe
        self._task: TaskConfig = load_task(TASK)
        self._folder = EpisodeFolder(places.dataset)
        self.checkpoint = Path()

    def all(self) -> list[Stage]:
        """In their order."""
        return [("simulate", self._simulate), ("extract", self._extract), ("annotate", self._annotate),
                ("convert", self._convert), ("train classifier", self._train_classifier),
                ("train policy", self._train)]

    def _simulate(self) -> str:
        recorded = record_demonstrations(self._places.bags, self._recipe.demonstrations,
                                         mass_range_g=self._recipe.mass_range_g)
        size_bytes = sum(file.stat().st_size for file in self._places.bags.rglob("*") if file.is_file())
        masses = [one.mass_g for one in recorded]
        return (f"{len(recorded)} simulated demonstrations, {min(masses):.1f} to {max(masses):.1f} g, "
                f"{size_bytes / 1e9:.2f} GB of bags in {self._places.bags}")

    def _extract(self) -> str:
        extract_all(self._places.bags, self._places.dataset, self._task)
        numbers = self._folder.numbers()
        ticks = sum(len(self._folder.load(number)) for number in numbers)
        return f"{len(numbers)} episodes, {ticks} ticks at {self._task.rate_hz:g} Hz in {self._places.dataset}"

    def _annotate(self) -> str:
        frames = 0
        for number in self._folder.numbers():
            with np.load(self._places.bags / "truth" / f"{number}.npz") as truth:
                stamps_ns, stages = truth["header_ns"], truth["stage"]
                frames += len(label_from_truth(self._folder, number, stamps_ns, stages, self._task))
        interpolate_labels(self._folder, self._task, required=True)
        return f"{frames} frames labelled by key presses that follow the simulator's truth"

    def _convert(self) -> str:
        path = self._places.replay_buffer
        if not path.exists() or ReplayBuffer.open(path).meta.get("episodes") != self._folder.numbers():
            convert_episodes(self._places.dataset, path)
        return str(path)

    def _train_classifier(self) -> str:
        train_classifier([*self._common(self._places.classifier), *self._recipe.classifier])
        report = json.loads((self._places.classifier / "classifier_report.json").read_text())
        return (f"held-out episodes: macro F1 {report['macro_f1']:.3f}, "
                f"{report['share_within_2_ticks']:.0%} of stage changes within 2 ticks")

    def _train(self) -> str:
        classifier = f"training.path_classifier_state_dict={self._places.classifier}"
        self.checkpoint = train_policy([*self._common(self._places.policy), classifier, *self._recipe.policy],
                                       self._recipe.config)
        return str(self.checkpoint)

    def _common(self, output: Path) -> list[str]:
        return [f"task.dataset_path={self._places.replay_buffer}", f"training.seed={self._places.seed}",
                f"training.output_dir={output}"]


def run_stages(stages: Sequence[Stage], root: Path) -> None:
    """All of them; prints a line for each and where everything lies."""
    started_s = time.monotonic()
    with quieter(QUIET, logging.WARNING):
        for number, (name, stage) in enumerate(stages, start=1):
            begun_s = time.monotonic()
            result = stage()
            typer.echo(f"{number}/{len(stages)} {name:<16} {time.monotonic() - begun_s:7.1f} s  {result}")
    typer.echo(f"everything took {(time.monotonic() - started_s) / 60:.1f} min and lies in {root}/")
