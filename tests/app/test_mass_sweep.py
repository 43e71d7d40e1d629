"""Asking for masses: the options, the way of the wish to the policy, and the figures of a sweep."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rclpy
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from rclpy.context import Context
from rclpy.node import Node

from app import evaluation
from app.eval_script import evaluate_from_arguments
from app.evaluation import Evaluation, evaluate_masses
from app.mass_options import mass_wish
from app.mass_sweep import Delivered, delivered_g, share_close, slope
from app.up import command
from ladle.errors import CheckpointError, ConfigError, DeploymentError, LadleError
from ladle.policy import Guidance, ObservationWindow
from ladle.replay_buffer import ReplayBufferWriter
from ladle.task import load_task, task_text
from ladle_bringup.description import describe
from ladle_bringup.settings import BringupSettings, settings_from_text
from ladle_nodes.policies import make_policy
from ladle_nodes.run_parameters import guidance_of
from ladle_nodes.simulator_node import judge_of
from simulation.judge import Judge
from training.inference import load_policy
from training.train import run

TINY = ["observations.images=[]", "observations.stage=none", "unet.down_dims=[16,32]", "unet.groups=4",
        "unet.step_embedding=16", "training.max_steps=2", "training.warmup_steps=1", "training.batch_size=4",
        "training.threads=1", "training.precision=float32", "training.val_ratio=0", "diffusion.train_steps=8",
        "diffusion.sample_steps=2", "training.device=cpu"]


def eef(ticks: int, seed: int) -> NDArray[np.float32]:
    """Poses (ticks, 7)."""
    poses = np.zeros((ticks, 7), np.float32)
    poses[:, :3] = np.random.default_rng(seed).normal(0, 0.1, (ticks, 3))
    poses[:, 3] = 1.0
    return poses


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """Whether it was told the mass -> checkpoint of a policy."""
    folder = tmp_path_factory.mktemp("mass")
    with ReplayBufferWriter(folder / "b.zarr", {"task": task_text(load_task("scoop"))}) as writer:
        for seed in range(2):
            poses = eef(20, seed)
            writer.append_episode({"eef": poses, "action": poses, "mass": np.full((20, 1), 2.0 + seed, np.float32)})
    return {told: run([*TINY, f"task.dataset_path={folder / 'b.zarr'}", f"mass.condition={str(told).lower()}",
                       f"training.output_dir={folder / str(told)}"],
                      config_name="franka_end_effector_image_obs_mass") for told in (True, False)}


@given(st.floats(-3, 3), st.floats(-5, 5), st.lists(st.floats(0, 10), min_size=2, max_size=5, unique=True),
       st.integers(1, 6))
def test_the_slope_of_a_line_is_found(gain: float, offset: float, asked: list[float], scenes: int):
    """Also with scatter that is the same for every target, and it is numpy's."""
    if np.ptp(asked) < 1e-3:
        return
    scatter = np.linspace(-1, 1, scenes)
    targets = [Delivered(a, gain * a + offset + scatter, np.zeros(scenes)) for a in asked]
    assert slope(targets) == pytest.approx(gain, abs=1e-6)


@given(st.lists(st.lists(st.floats(0, 10), min_size=3, max_size=3), min_size=2, max_size=4))
def test_the_slope_is_numpys_least_squares(delivered: list[list[float]]):
    """Of all scenes of all targets."""
    targets = [Delivered(1.0 + i, np.array(row), np.zeros(3)) for i, row in enumerate(delivered)]
    asked = np.repeat([target.asked_g for target in targets], 3)
    wanted = np.polyfit(asked, np.concatenate([target.conditioned_g for target in targets]), 1)[0]
    assert slope(targets) == pytest.approx(wanted, abs=1e-6)


def test_close_is_within_three_quarters_of_a_gram():
    """The border counts."""
    assert share_close(np.array([1.75, 1.74, 3.25, 3.26]), 2.5) == 0.5
    with pytest.raises(ConfigError, match="two different target masses"):
        slope([Delivered(2.0, np.ones(2), np.ones(2))])


@pytest.mark.parametrize(("target", "targets", "weight", "controls", "message"), [
    (None, None, 2.0, False, "--guidance-weight 2 has no mass to weigh"),
    (2.0, "1,2", None, False, "leave --target-mass-g out"),
    (None, "1,2", None, True, "leave --controls out"),
    (None, "1;2", None, False, "expected grams with commas between"),
    (None, "2", None, False, "at least two masses"),
    (None, "2,2.0", None, False, "each once"),
    (-1.0, None, None, False, r"target_mass_g -1\.0: a mass in grams must be 0 or more"),
    (math.nan, None, None, False, "target_mass_g nan"),
    (1.0, None, -1.0, False, r"guidance_weight -1\.0"),
])
def test_wishes_that_do_not_fit_are_named(policies: dict[bool, Path], target: float | None, targets: str | None,
                                          weight: float | None, controls: bool, message: str):
    """One line each."""
    with pytest.raises(ConfigError, match=message) as caught:
        mass_wish(policies[True], target, targets, weight, controls=controls)
    assert "\n" not in str(caught.value)


def test_wishes_are_understood(policies: dict[bool, Path]):
    """None, one, or several of one weight."""
    assert mass_wish(policies[False], None, None, None) == (None, ())
    assert mass_wish(policies[True], 2.5, None, None) == (Guidance(2.5), ())
    assert mass_wish(policies[True], None, "1.5,3", 2.0) == (None, (Guidance(1.5, 2.0), Guidance(3.0, 2.0)))


def test_a_policy_that_was_not_told_the_mass_is_refused_before_anything_starts(policies: dict[bool, Path],
                                                                               tmp_path: Path):
    """By the options, the evaluation and the sweep alike."""
    message = r"was trained without the mass, so it cannot be asked for one; train with mass\.condition=true"
    with pytest.raises(CheckpointError, match=message):
        mass_wish(policies[False], 2.5, None, None)
    with pytest.raises(CheckpointError, match=message):
        evaluation.evaluate(policies[False], guidance=Guidance(2.5), output=tmp_path / "out")
    with pytest.raises(CheckpointError, match=message):
        evaluate_masses(policies[False], [Guidance(1.5), Guidance(2.5)], output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_wish_reaches_the_policy(policies: dict[bool, Path]):
    """Settings, the node's parameters as ROS reads them, and the policy: its answer is that of the wish."""
    settings = evaluation.guided(BringupSettings(checkpoint=str(policies[True])), Guidance(2.25, 3.0))
    assert settings_from_text({"checkpoint": str(policies[True]), "target_mass_g": "2.25",
                               "guidance_weight": "3"}) == settings
    window = ObservationWindow(0.2, np.array([0.1, 0.2]), {"eef": eef(2, 5)})

    def answer(made: BringupSettings) -> NDArray[np.float64]:
        node = next(item for item in describe(made) if item.name == "ladle_policy")
        arguments = command(node)
        context = Context()
        rclpy.init(args=arguments[3:], context=context)
        ros = Node("ladle_policy", context=context, automatically_declare_parameters_from_overrides=True)
        try:
            policy = make_policy("checkpoint", load_task("scoop"), str(policies[True]), "", -1, 1, guidance_of(ros))
        finally:
            ros.destroy_node()
            rclpy.try_shutdown(context=context)
        policy.reset(0)
        return policy.predict(window).parts["pose"]

    wanted = load_policy(policies[True], guidance=Guidance(2.25, 3.0))
    wanted.reset(0)
    asked, free = answer(settings), answer(BringupSettings(checkpoint=str(policies[True])))
    assert np.array_equal(asked, wanted.predict(window).parts["pose"])
    assert not np.array_equal(asked, free)


@pytest.mark.parametrize(("given", "message"), [
    ({"policy": "hold", "target_mass_g": 2.0}, r"policy:=hold cannot be asked for 2 g"),
    ({"checkpoint": "x", "guidance_weight": 2.0}, "guidance_weight 2 has no target_mass_g"),
    ({"checkpoint": "x", "target_mass_g": -2.0}, "must be 0 or more"),
])
def test_settings_that_ask_in_vain_are_refused(given: dict[str, float], message: str):
    """Before a process starts."""
    with pytest.raises(LadleError, match=message):
        BringupSettings(**given)  # pyright: ignore[reportArgumentType]


def test_a_sweep_is_weighed_and_written(policies: dict[bool, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The simulator is played by a policy that delivers 1 g and half of what is asked; unasked it delivers 2.5 g."""
    def play(settings: BringupSettings, output: Path, *, keep: bool) -> Evaluation:
        mass_g = 2.5 if math.isnan(settings.target_mass_g) else 1.0 + settings.target_mass_g / 2
        assert settings.any_load
        return Evaluation("checkpoint", tuple({"delivered": True, "succeeded": True, "mass_g": mass_g, "wall_s": 1.0,
                                               "reflex": None} for _ in range(settings.scenes)), None)

    monkeypatch.setattr(evaluation, "evaluate_settings", play)
    wishes = [Guidance(target_g, 1.5) for target_g in (1.5, 2.5, 3.5)]
    made = evaluate_masses(policies[True], wishes, scenes=4, output=tmp_path)
    content = json.loads((tmp_path / "eval_log.json").read_text())
    assert content["mass_sweep"] == json.loads(json.dumps(made.as_json()))
    assert content["mass_sweep"]["slope"] == pytest.approx(0.5)
    assert [row["delivered_mean_g"] for row in content["mass_sweep"]["targets"]] == [1.75, 2.25, 2.75]
    assert content["mass_sweep"]["share_within_0.75_g"] == 1.0
    assert content["mass_sweep"]["unconditioned_share_within_0.75_g"] == pytest.approx(1 / 3)
    assert list(content["policies"]) == ["unconditioned", "target_1.5_g", "target_2.5_g", "target_3.5_g"]
    assert made.lines()[0] == "asked 1.50 g: delivered 1.75 g, 100% within 0.75 g (unconditioned 2.50 g, 0%)"
    assert "slope of delivered against asked 0.50 (unconditioned 0)" in made.lines()[-1]


def test_only_what_was_held_is_delivered():
    """A spoon in the puree at the end, or an arm that stopped, has brought nothing."""
    scenes = [{"delivered": True, "mass_g": 1.5}, {"delivered": False, "mass_g": 3.0},
              {"delivered": True, "mass_g": 1.25}, {"delivered": True, "mass_g": 1.0}]
    assert delivered_g(scenes).tolist() == [1.5, 0.0, 1.25, 1.0]
    row = Delivered(1.5, delivered_g(scenes), np.ones(4)).as_json()
    assert (row["scenes"], row["nothing_delivered"], row["share_within_0.75_g"]) == (4, 1, 0.75)


def test_the_simulator_judges_by_the_wish():
    """The mass that the policy is asked for is the one that its simulator's judge wants; none is the ordinary 2 g."""
    def judge(settings: BringupSettings) -> Judge:
        simulator = next(item for item in describe(settings) if item.name == "ladle_simulator")
        context = Context()
        rclpy.init(args=command(simulator)[3:], context=context)
        ros = Node("ladle_simulator", context=context, automatically_declare_parameters_from_overrides=True)
        try:
            return judge_of(ros)
        finally:
            ros.destroy_node()
            rclpy.try_shutdown(context=context)

    base = BringupSettings(policy="hold")
    assert judge(base) == Judge()
    assert judge(replace(base, any_load=True)) == Judge.of_any_load()
    for any_load in (False, True):
        asked = evaluation.guided(BringupSettings(checkpoint="x", any_load=any_load), Guidance(1.5))
        assert judge(asked) == Judge.of_wish(1.5)


@pytest.mark.parametrize(("option", "message"), [
    (["--device", "cuda:0"], "--device cuda:0: a scooping policy runs in its ROS node, on the CPU"),
    (["--inference_steps", "4"], r"--inference_steps 4: .* train it with diffusion\.sample_steps=4"),
])
def test_options_that_scooping_does_not_have_are_refused(policies: dict[bool, Path], tmp_path: Path,
                                                         option: list[str], message: str):
    """Rather than ignored."""
    with pytest.raises(DeploymentError, match=message):
        evaluate_from_arguments(["--checkpoint", str(policies[True]), "--output_dir", str(tmp_path / "o"), *option])
    assert not (tmp_path / "o").exists()
