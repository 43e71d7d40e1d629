"""Predicted against recorded action chunks over one episode of a replay buffer, as a figure and as numbers.

    python analysis/predictions/robot_dataset.py --checkpoint results/run --dataset data/replay_buffer.zarr \
        --index-episode 0 --output results/analysis
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

from analysis.episode_predictions import predict_episode, read_episode
from analysis.metrics import episode_metrics
from analysis.plots import save_episode_figure
from ladle.atomic import replace_file
from ladle.replay_buffer import ReplayBuffer
from ladle.script import run_script
from ladle.task import task_from_text
from training.inference import load_policy

log = logging.getLogger("ladle.analysis")

FIGURE_NAME = "predictions.png"
METRICS_NAME = "metrics.json"


def analyse_episode(
    checkpoint: str | Path, dataset: str | Path, index_episode: int, output: str | Path, *, device: str = "cpu",
    classifier: str | Path | None = None, seed: int = 0,
) -> dict[str, Any]:
    """Ask the policy at every tick of one episode; write output/predictions.png and output/metrics.json.

    Args:
        dataset: replay_buffer.zarr or .zarr.zip.
        index_episode: 0 to n_episodes - 1, the place in the buffer.
        classifier: stage classifier, by default the one that the checkpoint brings.
        seed: of the policy's noise.

    Returns:
        What is in metrics.json.

    Raises:
        ReplayBufferError: no such buffer or episode. CheckpointError: damaged, or for another task than the dataset.
    """
    buffer = ReplayBuffer.open(dataset)
    buffer.episode_slice(index_episode)
    recorded_task = buffer.meta.get("task")
    task = task_from_text(recorded_task, str(buffer.path)) if recorded_task is not None else None
    policy = load_policy(checkpoint, device, classifier, task=task)
    record = read_episode(buffer, index_episode, policy)
    predictions = predict_episode(policy, record, seed)
    numbers = buffer.meta.get("episodes")
    metrics = {
        "checkpoint": str(checkpoint), "dataset": str(dataset), "task": policy.task.name, "seed": seed,
        "index_episode": index_episode, "episode_number": numbers[index_episode] if numbers else None,
        **episode_metrics(record, predictions, policy.task, policy.n_action_steps),
    }
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    title = f"{policy.task.name}, episode {index_episode}: {one_line_summary(metrics)}"
    save_episode_figure(folder / FIGURE_NAME, record, predictions, policy.task, metrics, title)
    with replace_file(folder / METRICS_NAME) as partial:
        partial.write_text(json.dumps(metrics, indent=2) + "\n")
    return metrics


def one_line_summary(metrics: dict[str, Any]) -> str:
    """Mean and 95th percentile of every error, and the stage accuracy."""
    told = [f"{name} {quantity.replace('_', ' ')} mean {numbers['mean']:.2f}, p95 {numbers['p95']:.2f}"
            for name, quantities in metrics["action_parts"].items() for quantity, numbers in quantities.items()]
    if metrics["stage"] is not None:
        told.append(f"stage accuracy {metrics['stage']['accuracy']:.3f}")
    return "; ".join(told)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Predicted against recorded action chunks over one episode.")
    parser.add_argument("--checkpoint", type=Path, required=True, help="checkpoint folder or run folder of a policy")
    parser.add_argument("--dataset", type=Path, required=True, help="replay_buffer.zarr or .zarr.zip")
    parser.add_argument("--index-episode", type=int, required=True, help="0 is the first in the dataset")
    parser.add_argument("--output", type=Path, required=True, help=f"folder for {FIGURE_NAME} and {METRICS_NAME}")
    parser.add_argument("--path-classifier", type=Path, default=None, help="default: the checkpoint's own")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seed", type=int, default=0, help="of the policy's noise")
    options = parser.parse_args()

    def run() -> None:
        metrics = analyse_episode(options.checkpoint, options.dataset, options.index_episode, options.output,
                                  device=options.device, classifier=options.path_classifier, seed=options.seed)
        log.info("%s", one_line_summary(metrics))
        log.info("figure and numbers are in %s", options.output)

    run_script(run)


if __name__ == "__main__":
    main()
