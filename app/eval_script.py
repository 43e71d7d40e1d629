"""`python eval.py --checkpoint PATH --output_dir DIR`: `ladle eval` with the option names of the original script."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from ladle.errors import DeploymentError
from ladle.script import run_script
from real_world_deployment.chunking import Chunking
from training.checkpoint import open_checkpoint

log = logging.getLogger("ladle.eval")


def main() -> None:
    """Entry of `python eval.py`."""
    run_script(lambda: evaluate_from_arguments(sys.argv[1:]))


def evaluate_from_arguments(argv: Sequence[str]) -> None:
    """Evaluate the checkpoint in the environment of its task."""
    parser = argparse.ArgumentParser(description="Evaluate a policy in the environment of its task.")
    parser.add_argument("--checkpoint", "-c", "--ckpt", type=Path, required=True,
                        help="checkpoint folder or run folder")
    parser.add_argument("--output_dir", "-o", "--output-dir", type=Path, default=Path("eval_output"),
                        help="where eval_log.json and the videos go; default: eval_output")
    parser.add_argument("--device", "-d", default="cpu")
    parser.add_argument("--episodes", type=int, default=None, help="default: 50 of Push-T, 10 scenes of scooping")
    parser.add_argument("--inference_steps", type=int, default=None, help="of the sampler; default: as trained")
    parser.add_argument("--seed", type=int, default=0, help="of the policy's noise")
    parser.add_argument("--render", action="store_true",
                        help="film every episode of Push-T, not only the first four; of scooping every one is filmed")
    arguments = parser.parse_args(list(argv))
    if arguments.episodes is not None and arguments.episodes < 1:
        parser.error(f"--episodes {arguments.episodes}: must be 1 or more")
    log.info("%s", evaluate_by_task(arguments.checkpoint, arguments.output_dir, device=arguments.device,
                                    episodes=arguments.episodes, sample_steps=arguments.inference_steps,
                                    seed=arguments.seed, film_all=arguments.render))


def evaluate_by_task(checkpoint: Path, output: Path, *, device: str = "cpu", episodes: int | None = None,
                     first_seed: int | None = None, sample_steps: int | None = None, seed: int = 0,
                     film_all: bool = False, chunking: Chunking = "replace",
                     latency_s: float | None = None) -> str:
    """Evaluate where the checkpoint's task is at home; a line for the user."""
    from app.runners import PUSHT

    if open_checkpoint(checkpoint, "policy").task.name == PUSHT:
        from app.evaluation_pusht import FIRST_SEED, PushtSettings, evaluate_pusht, one_line
        from app.pusht import RATE_HZ

        if chunking == "stop_and_go":
            raise DeploymentError("--chunking stop_and_go waits for an arm to rest, and Push-T has no arm; take "
                                  "replace, ensemble or real_time")
        settings = PushtSettings(
            episodes=episodes or PushtSettings.episodes, first_seed=FIRST_SEED if first_seed is None else first_seed,
            seed=seed, device=device, sample_steps=sample_steps,
            chunking=chunking, delay=round((latency_s or 0.0) * RATE_HZ),
            videos=(episodes or PushtSettings.episodes) if film_all else PushtSettings.videos)
        return one_line(evaluate_pusht(checkpoint, output, settings), output)
    from app.evaluation import evaluate

    if device != "cpu":
        raise DeploymentError(f"--device {device}: a scooping policy runs in its ROS node, on the CPU; leave it out")
    if sample_steps is not None:
        raise DeploymentError(f"--inference_steps {sample_steps}: a scooping policy runs as it was trained; train it "
                              f"with diffusion.sample_steps={sample_steps}, or leave it out")
    found = evaluate(checkpoint, output=output, scenes=episodes or 10, first_scene=first_seed or 0, seed=seed)
    return "; ".join(f"{name}: {item.one_line()}" for name, item in found.items())
