"""The whole loop on one machine, one line a stage: demonstrations, bags, episodes, labels, training, ROS 2, analysis.

Every stage keeps what it finds finished, so a demo that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import typer

from analysis.predictions.robot_dataset import analyse_episode
from annotator.scripted import label_from_truth
from app.evaluation import evaluate
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
# What a stage of its own would show on a terminal; the demo has one line for each instead.
QUIET = ("ladle.extract", "ladle.conversion", "ladle.annotator", "simulation", "training", "ladle.up", "ladle.eval")


@dataclass(frozen=True)
class DemoSize:
    """How much of everything. The overrides are Hydra's."""

    demonstrations: int
    scenes: int
    classifier: tuple[str, ...] = ()
    policy: tuple[str, ...] = ()


FULL = DemoSize(demonstrations=50, scenes=10)
QUICK = DemoSize(
    demonstrations=3,
    scenes=2,
    classifier=("training.max_steps=30", "training.warmup_steps=5", "training.batch_size=32"),
    policy=("training.max_steps=20", "training.warmup_steps=5", "training.batch_size=16", "training.val_windows=16",
            "training.val_ratio=0.34"),
)


@dataclass(frozen=True)
class Places:
    """Where everything of one demo lies."""

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


class Demo:
    """The stages in their order; each says in one line what it did."""

    def __init__(self, places: Places, size: DemoSize, controls: bool) -> None:
        self._places, self._size, self._controls = places, size, controls
        self._task: TaskConfig = load_task(TASK)
        self._folder = EpisodeFolder(places.dataset)
        self._checkpoint = Path()

    def run(self) -> None:
        """All stages; prints a line for each and where everything lies."""
        started_s = time.monotonic()
        stages: list[tuple[str, Callable[[], str]]] = [
            ("simulate", self._simulate), ("extract", self._extract), ("annotate", self._annotate),
            ("convert", self._convert), ("train classifier", self._train_classifier), ("train policy", self._train),
            ("closed loop", self._evaluate), ("analyse", self._analyse),
        ]
        for number, (name, stage) in enumerate(stages, start=1):
            begun_s = time.monotonic()
            result = stage()
            typer.echo(f"{number}/{len(stages)} {name:<16} {time.monotonic() - begun_s:7.1f} s  {result}")
        typer.echo(f"everything took {(time.monotonic() - started_s) / 60:.1f} min and lies in {self._places.root}/")

    def _simulate(self) -> str:
        recorded = record_demonstrations(self._places.bags, self._size.demonstrations)
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
        train_classifier([*self._common(self._places.classifier), *self._size.classifier])
        report = json.loads((self._places.classifier / "classifier_report.json").read_text())
        return (f"held-out episodes: macro F1 {report['macro_f1']:.3f}, "
                f"{report['share_within_2_ticks']:.0%} of stage changes within 2 ticks")

    def _train(self) -> str:
        classifier = f"training.path_classifier_state_dict={self._places.classifier}"
        self._checkpoint = train_policy([*self._common(self._places.policy), classifier, *self._size.policy])
        return str(self._checkpoint)

    def _evaluate(self) -> str:
        found = evaluate(
            self._checkpoint, scenes=self._size.scenes, first_scene=self._places.seed * self._size.scenes,
            controls=self._controls, dataset=self._places.dataset, output=self._places.evaluation,
            seed=self._places.seed,
        )
        rates = ", ".join(f"{name} {sum(one.successes)}/{len(one.successes)}" for name, one in found.items())
        return f"unseen simulated scenes through ROS 2: {rates}; video {self._places.evaluation}/checkpoint/scenes.mp4"

    def _analyse(self) -> str:
        numbers = analyse_episode(self._checkpoint, self._places.replay_buffer, 0, self._places.analysis)
        pose = numbers["action_parts"]["pose"]
        return (f"position error {pose['position_error_mm']['mean']:.1f} mm, rotation error "
                f"{pose['rotation_error_deg']['mean']:.2f}°, stage accuracy {numbers['stage']['accuracy']:.2f}; "
                f"figure {self._places.analysis}/predictions.png")

    def _common(self, output: Path) -> list[str]:
        return [f"task.dataset_path={self._places.replay_buffer}", f"training.seed={self._places.seed}",
                f"training.output_dir={output}"]


def run_demo(output: Path, *, quick: bool, seed: int, controls: bool) -> None:
    """Run the loop; see the module."""
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    Demo(Places(output.absolute(), seed), QUICK if quick else FULL, controls).run()
