"""`ladle bench proof scoop` and `scoop_mass`: from demonstrations to the closed loop in the simulator, and figures.

Every stage keeps what it finds finished; the policy without a mass and each asked mass are stages of their own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.evaluation import Evaluation, evaluate, evaluate_masses
from app.intervals import CONFIDENCE
from app.mass_sweep import MassSweep
from app.scoop_stages import Places, Recipe, ScoopStages, run_stages
from ladle.atomic import replace_file
from ladle.errors import ConfigError
from ladle.policy import Guidance

PROOF_JSON = "proof.json"
# Evaluation scenes that nobody looked at when the demo was settled; it takes the first hundreds.
FIRST_SCENE = 1000


@dataclass(frozen=True)
class ScoopProof:
    """A training and its evaluation.

    Attributes:
        scenes: evaluation scenes; of a sweep, for each asked mass.
        targets_g: masses to ask for; none is the policy without a mass, judged by the ordinary 2 g.
        guidance_weight: how hard they are asked for.
        chunking: how a chunk meets the running one.
        success, slope, share_close: what has to be reached.
    """

    recipe: Recipe
    scenes: int
    targets_g: tuple[float, ...] = ()
    guidance_weight: float = 1.0
    chunking: str = "replace"
    success: float | None = None
    slope: float | None = None
    share_close: float | None = None


SCOOP_PROOFS: dict[str, ScoopProof] = {
    "scoop": ScoopProof(Recipe(demonstrations=100, policy=("training.max_steps=6000",)), scenes=100, success=0.95),
    # Beyond the asked masses on both sides, so that none of them is at the border of what was shown. Chunks that
    # continue each other: on scenes from 2000 on, where this was chosen, a policy whose chunks replace each other
    # delivered about half a gram too much. The weight was chosen there too: 1 gives less than what is asked for.
    "scoop_mass": ScoopProof(
        Recipe(demonstrations=240, mass_range_g=(0.8, 4.6), config="franka_end_effector_image_obs_mass",
               policy=("training.max_steps=10000",)),
        scenes=30, targets_g=(1.5, 2.5, 3.5), guidance_weight=1.5, chunking="real_time", slope=0.8, share_close=0.8),
}


def prove_scoop(proof: ScoopProof, output: Path, *, resume: bool = False, scenes: int | None = None,
                overrides: Sequence[str] = (), seed: int = 0) -> tuple[dict[str, Any], str]:
    """Run what is missing, and write output/proof.json.

    Args:
        scenes: instead of the proof's. overrides: of the policy's training.

    Returns:
        What was written, and a line of it for the user.

    Raises:
        ConfigError: a folder with a run in it and no `resume`.
    """
    places = Places(output.absolute(), seed)
    if not resume and places.bags.exists():
        raise ConfigError(f"{output} holds a run already; go on with it by --resume, or choose another --output")
    stages = ScoopStages(places, replace(proof.recipe, policy=(*proof.recipe.policy, *overrides)))
    n = scenes or proof.scenes
    content: dict[str, Any] = {}

    def closed_loop() -> str:
        if proof.targets_g:
            content.update(mass_figures(evaluate_masses(
                stages.checkpoint, [Guidance(target_g, proof.guidance_weight) for target_g in proof.targets_g],
                scenes=n, first_scene=FIRST_SCENE, output=places.evaluation, seed=seed, keep=True,
                chunking=proof.chunking), proof))
        else:
            content.update(success_figures(evaluate(
                stages.checkpoint, scenes=n, first_scene=FIRST_SCENE, output=places.evaluation, seed=seed,
                video=False, keep=True, chunking=proof.chunking)["checkpoint"], proof))
        return f"{places.evaluation}"

    shown_g = proof.recipe.mass_range_g
    run_stages([*stages.all(), ("closed loop", closed_loop)], places.root)
    content |= {"checkpoint": str(stages.checkpoint), "demonstrations": proof.recipe.demonstrations,
                "demonstrated_g": shown_g and list(shown_g), "first_scene": FIRST_SCENE, "seed": seed,
                "chunking": proof.chunking}
    with replace_file(output / PROOF_JSON) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n")
    return content, one_line(content)


def success_figures(found: Evaluation, proof: ScoopProof) -> dict[str, Any]:
    """Success over the scenes with its interval."""
    n, succeeded = len(found.scenes), sum(found.successes)
    return {"scenes": n, "succeeded": succeeded, "success": found.rate, "success_interval": found.rate_interval,
            "confidence": CONFIDENCE, "to_reach": {"success": proof.success},
            "failed_seeds": [scene["seed"] for scene in found.scenes if not scene["succeeded"]],
            "reached": None if proof.success is None else found.rate >= proof.success}


def mass_figures(found: MassSweep, proof: ScoopProof) -> dict[str, Any]:
    """The sweep's figures, and whether they are reached."""
    figures = found.as_json()
    reached = None
    if proof.slope is not None and proof.share_close is not None:
        reached = figures["slope"] >= proof.slope and figures["share_within_0.75_g"] >= proof.share_close
    return {**figures, "unconditioned_slope": 0.0,
            "to_reach": {"slope": proof.slope, "share_within_0.75_g": proof.share_close}, "reached": reached}


def one_line(content: dict[str, Any]) -> str:
    """What the user is told."""
    aim = content["to_reach"]
    if "targets" not in content:
        low, high = content["success_interval"]
        return (f"scoop: {content['succeeded']} of {content['scenes']} scenes, {content['success']:.0%} "
                f"(95 % interval {low:.0%} to {high:.0%}; to reach: {aim['success']:.0%})")
    rows = ", ".join(f"asked {row['asked_g']:g} g delivered {row['delivered_mean_g']:.2f} g with "
                     f"{row['share_within_0.75_g']:.0%} (unconditioned {row['unconditioned_share_within_0.75_g']:.0%}) "
                     "within 0.75 g" for row in content["targets"])
    return (f"scoop_mass: slope {content['slope']:.2f} (unconditioned 0; to reach: {aim['slope']}), "
            f"{content['share_within_0.75_g']:.0%} (unconditioned {content['unconditioned_share_within_0.75_g']:.0%}; "
            f"to reach: {aim['share_within_0.75_g']:.0%}) within 0.75 g, {content['scenes_per_target']} scenes a mass; "
            f"{rows}; unconditioned {content['unconditioned_delivered_mean_g']:.2f} g")
