"""The proofs of scooping: their figures, and a whole one, small."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import TracebackType

import numpy as np
import pytest
from typer.testing import CliRunner

from app import evaluation
from app.benchmarks.proof_scoop import (
    SCOOP_PROOFS,
    ScoopProof,
    mass_figures,
    one_line,
    prove_scoop,
    success_figures,
)
from app.cli import app
from app.evaluation import Evaluation
from app.mass_sweep import Delivered, MassSweep
from app.scoop_stages import Recipe
from ladle.errors import ConfigError
from ladle_bringup.settings import BringupSettings
from simulation.wished_load import check_range
from training.compose import compose_config
from training.schema import PolicyConfig

TINY = ScoopProof(
    Recipe(demonstrations=2, mass_range_g=(0.8, 4.6), config="franka_end_effector_image_obs_mass",
           classifier=("training.max_steps=4", "training.warmup_steps=1", "training.batch_size=8",
                       "training.val_ratio=0.5", "training.threads=1", "classifier.n_folds=2"),
           policy=("training.max_steps=2", "training.warmup_steps=1", "training.batch_size=4", "training.val_ratio=0",
                   "unet.down_dims=[16,32]", "unet.groups=4", "unet.step_embedding=16")),
    scenes=3, targets_g=(1.5, 3.5), slope=0.8, share_close=0.8)


@pytest.mark.parametrize(("gain", "reached"), [(1.0, True), (0.7, False)])
def test_a_sweep_is_held_against_what_has_to_be_reached(gain: float, reached: bool):
    """Slope and share together; the line has the figures of each mass, and the unconditioned policy's."""
    free_g = np.full(4, 2.4)
    targets = tuple(Delivered(asked, 2.5 + gain * (asked - 2.5) + np.zeros(4), free_g) for asked in (1.5, 2.5, 3.5))
    figures = mass_figures(MassSweep(1.0, targets), SCOOP_PROOFS["scoop_mass"])
    assert figures["slope"] == pytest.approx(gain)
    assert figures["reached"] is reached
    line = one_line(figures)
    assert f"slope {gain:.2f} (unconditioned 0; to reach: 0.8), 100% (unconditioned 33%; to reach: 80%)" in line
    assert "asked 2.5 g delivered 2.50 g with 100% (unconditioned 100%) within 0.75 g" in line


def test_the_proofs_can_be_run():
    """Their configurations compose, the expert can bring their masses, and every asked mass was shown, with room."""
    for proof in SCOOP_PROOFS.values():
        config = compose_config(PolicyConfig, proof.recipe.config, proof.recipe.policy).config
        assert config.mass.condition == bool(proof.targets_g)
        if proof.recipe.mass_range_g is not None:
            check_range(proof.recipe.mass_range_g)
            least_g, most_g = proof.recipe.mass_range_g
            assert all(least_g + 0.5 <= target_g <= most_g - 0.5 for target_g in proof.targets_g)


class PlayedBringup:
    """Plays the processes: every scene ends as asked for; unasked with 4 g, and the last scene with nothing held."""

    runs: list[str]

    def __init__(self, settings: BringupSettings, log_folder: Path) -> None:
        self._settings = settings

    def __enter__(self) -> PlayedBringup:
        asked = self._settings.target_mass_g
        self.runs.append(Path(self._settings.output).name)
        with (Path(self._settings.output) / evaluation.RESULTS_FILE).open("w") as file:
            for index in range(self._settings.scenes):
                held = index < self._settings.scenes - 1
                file.write(json.dumps({
                    "index": index, "seed": self._settings.seed0 + index, "delivered": held, "succeeded": held,
                    "mass_g": 4.0 if math.isnan(asked) else asked, "reflex": None, "duration_s": 9.0, "wall_s": 1.0,
                    "state": "", "detail": ""}) + "\n")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        """Nothing to end."""

    def ended(self, timeout_s: float) -> bool:
        """At once."""
        return True


@pytest.mark.slow
def test_a_proof_goes_through_its_stages_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                              capsys: pytest.CaptureFixture[str]):
    """Demonstrations to policy are made for real, the closed loop is played; going on does nothing again, except for
    the mass whose scenes are missing. The figures are the same."""
    PlayedBringup.runs = []
    monkeypatch.setattr(evaluation, "Bringup", PlayedBringup)
    content, _ = prove_scoop(TINY, tmp_path)
    assert PlayedBringup.runs == ["unconditioned", "target_1.5_g", "target_3.5_g"]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:7]] == [f"{n}/7" for n in range(1, 8)]
    assert content == json.loads((tmp_path / "proof.json").read_text())
    assert content["slope"] == pytest.approx(2 / 3)  # two of three scenes deliver what is asked, one nothing
    assert [row["nothing_delivered"] for row in content["targets"]] == [1, 1]
    assert content["unconditioned_delivered_mean_g"] == pytest.approx(8 / 3)
    with pytest.raises(ConfigError, match="by --resume"):
        prove_scoop(TINY, tmp_path)

    made_ns = {path: path.stat().st_mtime_ns for pattern in ("*.mcap", "checkpoints/*/*.safetensors")
               for path in tmp_path.rglob(pattern)}
    assert len(made_ns) > 2
    (tmp_path / "evaluation/seed_0/target_3.5_g/scenes.jsonl").unlink()
    again, _ = prove_scoop(TINY, tmp_path, resume=True)
    assert again == content
    assert PlayedBringup.runs[3:] == ["target_3.5_g"]
    assert {path: path.stat().st_mtime_ns for path in made_ns} == made_ns


def test_success_is_counted_with_its_interval_and_failed_scenes():
    """99 of 100, as the line says it."""
    scenes = tuple({"succeeded": seed != 1003, "seed": seed} for seed in range(1000, 1100))
    figures = success_figures(Evaluation("checkpoint", scenes, None), SCOOP_PROOFS["scoop"])
    assert (figures["failed_seeds"], figures["reached"]) == ([1003], True)
    assert one_line(figures) == "scoop: 99 of 100 scenes, 99% (95 % interval 95% to 100%; to reach: 95%)"


@pytest.mark.parametrize(("arguments", "message"), [
    (["scoop", "--dataset", "x"], "leave --dataset out"),
    (["pusht_state", "--scenes", "3"], "--scenes is for the proofs of scooping"),
    (["scop"], "no proof named 'scop'; there are pusht_state, pusht_image, pusht_image_gpu, scoop, scoop_mass"),
])
def test_options_of_the_other_proofs_are_refused(tmp_path: Path, arguments: list[str], message: str):
    """Rather than ignored."""
    result = CliRunner().invoke(app, ["bench", "proof", *arguments, "--output", str(tmp_path / "o")])
    assert isinstance(result.exception, ConfigError)
    assert message in str(result.exception)
