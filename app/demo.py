"""The whole loop on one machine, one line a stage: from demonstrations to the closed loop and the analysis."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from analysis.predictions.robot_dataset import analyse_episode
from app.evaluation import evaluate
from app.scoop_stages import Places, Recipe, ScoopStages, run_stages


@dataclass(frozen=True)
class DemoSize:
    """What is trained, and in how many scenes it is tried."""

    recipe: Recipe
    scenes: int


FULL = DemoSize(Recipe(demonstrations=50), scenes=10)
QUICK = DemoSize(
    Recipe(demonstrations=3,
           classifier=("training.max_steps=30", "training.warmup_steps=5", "training.batch_size=32"),
           policy=("training.max_steps=20", "training.warmup_steps=5", "training.batch_size=16",
                   "training.val_windows=16", "training.val_ratio=0.34")),
    scenes=2,
)


class Demo:
    """The stages of the loop that come after the training."""

    def __init__(self, places: Places, size: DemoSize, controls: bool) -> None:
        self._places, self._size, self._controls = places, size, controls
        self._training = ScoopStages(places, size.recipe)

    def run(self) -> None:
        """All stages; prints a line for each and where everything lies."""
        run_stages([*self._training.all(), ("closed loop", self._evaluate), ("analyse", self._analyse)],
                   self._places.root)

    def _evaluate(self) -> str:
        found = evaluate(
            self._training.checkpoint, scenes=self._size.scenes, first_scene=self._places.seed * self._size.scenes,
            controls=self._controls, dataset=self._places.dataset, output=self._places.evaluation,
            seed=self._places.seed,
        )
        rates = ", ".join(f"{name} {sum(one.successes)}/{len(one.successes)}" for name, one in found.items())
        return f"unseen simulated scenes through ROS 2: {rates}; video {self._places.evaluation}/checkpoint/scenes.mp4"

    def _analyse(self) -> str:
        numbers = analyse_episode(self._training.checkpoint, self._places.replay_buffer, 0, self._places.analysis)
        pose = numbers["action_parts"]["pose"]
        return (f"position error {pose['position_error_mm']['mean']:.1f} mm, rotation error "
                f"{pose['rotation_error_deg']['mean']:.2f}°, stage accuracy {numbers['stage']['accuracy']:.2f}; "
                f"figure {self._places.analysis}/predictions.png")


def run_demo(output: Path, *, quick: bool, seed: int, controls: bool) -> None:
    """Run the loop; see the module."""
    Demo(Places(output.absolute(), seed), QUICK if quick else FULL, controls).run()
