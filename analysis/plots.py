"""The figure of one episode: predicted chunks over what was recorded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.episode_predictions import EpisodePredictions, EpisodeRecord
from ladle.atomic import replace_file
from ladle.pose import quaternion_conjugate, quaternion_multiply, rotation_vector
from ladle.task import ActionPartConfig, TaskConfig

COMPONENT_COLORS = ("tab:red", "tab:green", "tab:blue", "tab:purple", "tab:orange", "tab:brown", "tab:cyan")
RECORDED_COLOR = "black"
CHUNKS = colormaps["viridis"]
DPI = 110

Floats = NDArray[np.float64]


def save_episode_figure(
    path: Path, record: EpisodeRecord, predictions: EpisodePredictions, task: TaskConfig, metrics: dict[str, Any],
    title: str,
) -> None:
    """Write a PNG: over time each component of the first action part with the chunks over it, rotation, stages; beside
    it the path in space and the errors over the horizon."""
    part = task.action[0]
    series = component_series(part, record.action[part.name], predictions.parts[part.name])
    n_rows = len(series) + (predictions.stage_probabilities is not None)
    figure = Figure(figsize=(15, 2.1 * max(n_rows, 4)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2 * n_rows, 2, width_ratios=(2, 1))
    every = max(1, metrics["n_action_steps"])
    for row, (name, recorded, chunks) in enumerate(series):
        axes = figure.add_subplot(grid[2 * row: 2 * row + 2, 0])
        _plot_over_time(axes, recorded, chunks, task.period_s, every)
        axes.set_ylabel(name)
    if predictions.stage_probabilities is not None:
        _plot_stages(figure.add_subplot(grid[2 * n_rows - 2:, 0]), record, predictions, task)
    for axes in figure.axes[1:]:
        axes.sharex(figure.axes[0])
    figure.axes[-1].set_xlabel("time in the episode [s]")
    _plot_path(figure, grid[:n_rows, 1], part, record.action[part.name], predictions.parts[part.name], every)
    _plot_errors(figure.add_subplot(grid[n_rows:, 1]), metrics["action_parts"], task.period_s)
    figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as partial:
        figure.savefig(partial, dpi=DPI, format="png")


def component_series(
    part: ActionPartConfig, recorded: Floats, predicted: Floats
) -> list[tuple[str, Floats, Floats]]:
    """What is drawn over time: axis label, recorded (T, C), predicted (T, H, C).

    A pose gives x, y, z in mm and the rotation vector against the first recorded rotation in degrees.
    """
    if part.kind == "pose":
        positions = [(f"{axis} [mm]", recorded[:, i, None] * 1000.0, predicted[:, :, i, None] * 1000.0)
                     for i, axis in enumerate("xyz")]
        back = quaternion_conjugate(recorded[0, 3:])
        rotations = [np.degrees(rotation_vector(quaternion_multiply(back, q[..., 3:]))) for q in (recorded, predicted)]
        return [*positions, ("rotation vector [deg]", rotations[0], rotations[1])]
    scale, unit = (180.0 / np.pi, " [deg]") if part.kind == "joints" else (1.0, "")
    names = "xy" if part.kind == "xy" else [f"{part.name} {i + 1}" for i in range(recorded.shape[1])]
    return [(f"{name}{unit}", recorded[:, i, None] * scale, predicted[:, :, i, None] * scale)
            for i, name in enumerate(names)]


def _plot_over_time(axes: Axes, recorded: Floats, chunks: Floats, period_s: float, every: int) -> None:
    due_s = (np.arange(len(recorded)) + 1) * period_s
    single = recorded.shape[1] == 1
    for component in range(recorded.shape[1]):
        color = RECORDED_COLOR if single else COMPONENT_COLORS[component]
        axes.plot(due_s, recorded[:, component], color=color, linewidth=2.2, alpha=0.5,
                  label="recorded" if single else "xyz"[component])
        for tick in range(0, len(chunks), every):
            times_s = (tick + 1 + np.arange(chunks.shape[1])) * period_s
            axes.plot(times_s, chunks[tick, :, component], linewidth=1.1,
                      color=CHUNKS(tick / len(chunks)) if single else color)
    axes.grid(alpha=0.3)
    axes.legend(loc="upper right", fontsize=7)


def _plot_stages(axes: Axes, record: EpisodeRecord, predictions: EpisodePredictions, task: TaskConfig) -> None:
    assert predictions.stage_probabilities is not None
    probabilities = predictions.stage_probabilities
    times_s = np.arange(len(probabilities)) * task.period_s
    names: Sequence[str] = task.stages.names if task.stages else [str(i) for i in range(probabilities.shape[1])]
    for stage, name in enumerate(names):
        color = COMPONENT_COLORS[stage % len(COMPONENT_COLORS)]
        axes.plot(times_s, probabilities[:, stage], color=color, label=name)
        if record.labels is not None:
            axes.fill_between(times_s, 0, 1, where=(record.labels == stage).tolist(), color=color, alpha=0.12,
                              step="mid")
        if predictions.stages is not None:
            held = np.where(predictions.stages == stage, 1.06, np.nan)
            axes.plot(times_s, held, color=color, linewidth=4)
    axes.set_ylabel("stage probability")
    axes.legend(loc="center right", fontsize=7, title="shade: label, bar: decided", title_fontsize=7)
    axes.grid(alpha=0.3)


def _plot_path(
    figure: Figure, place: Any, part: ActionPartConfig, recorded: Floats, chunks: Floats, every: int
) -> None:
    """Poses in 3-D, xy from above, the first two components of anything else."""
    spatial = part.kind == "pose"
    axes: Any = figure.add_subplot(place, projection="3d") if spatial else figure.add_subplot(place)
    columns = slice(0, 3 if spatial else min(2, recorded.shape[1]))
    axes.plot(*recorded[:, columns].T, color=RECORDED_COLOR, linewidth=2.2, alpha=0.5, label="recorded")
    for tick in range(0, len(chunks), every):
        axes.plot(*chunks[tick, :, columns].T, linewidth=1.1, color=CHUNKS(tick / len(chunks)))
    axes.set_title("path in space [m]; colour: time" if spatial else "path; colour: time", fontsize=9)
    axes.set_aspect("equal", adjustable="datalim")
    axes.legend(loc="upper right", fontsize=7)


def _plot_errors(axes: Axes, parts: dict[str, Any], period_s: float) -> None:
    for name, quantities in parts.items():
        for quantity, numbers in quantities.items():
            means = np.array([np.nan if value is None else value for value in numbers["by_horizon_step"]])
            label = f"{name}: {quantity.replace('_', ' ')} (mean {numbers['mean']:.2f}, p95 {numbers['p95']:.2f})"
            axes.plot((np.arange(len(means)) + 1) * period_s, means, marker="o", markersize=3, label=label)
    axes.set_xlabel("time ahead of the observation [s]")
    axes.set_ylabel("mean error")
    axes.set_ylim(0, 1.2 * axes.get_ylim()[1])  # room for the legend
    axes.legend(loc="upper left", fontsize=7)
    axes.grid(alpha=0.3)
