"""The commands that look into, check, mend and convert data sets; see `app.cli`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Literal

import typer

data_app = typer.Typer()


class QuaternionOrderName(str, Enum):
    """Where a quaternion has its scalar."""

    WXYZ = "wxyz"
    XYZW = "xyzw"


@data_app.command()
def convert(
    source: Annotated[Path | None, typer.Argument(help="Episodes, .zarr[.zip], .hdf5 or a LeRobot folder.")] = None,
    target: Annotated[Path | None, typer.Argument(help=".zarr, .zarr.zip, .hdf5, or a folder for LeRobot.")] = None,
    dataset_path: Annotated[Path | None, typer.Option(help="Folder of episodes, instead of SOURCE.")] = None,
    output: Annotated[Path | None, typer.Option(help="Default: replay_buffer.zarr in the folder.")] = None,
    make_zip: Annotated[bool, typer.Option("--zip", help="Also write <output>.zip.")] = False,
    skip_incomplete: Annotated[bool, typer.Option(help="Leave out half-made or unlabelled episodes.")] = False,
    override: Annotated[bool, typer.Option(help="Replace a TARGET that exists.")] = False,
    fps: Annotated[float | None, typer.Option(help="Steps per second, where the data do not say.")] = None,
    video: Annotated[bool, typer.Option(help="LeRobot: images as mp4, smaller and lossy.")] = False,
    filter_key: Annotated[str | None, typer.Option(help="robomimic: only demonstrations of this filter key.")] = None,
    without_obs: Annotated[bool, typer.Option(help="robomimic: take raw data that has no observations.")] = False,
    quaternion_order: Annotated[QuaternionOrderName | None, typer.Option(
        help="Older episodes without episode.json: how their poses are written.")] = None,
    bags: Annotated[Path | None, typer.Option(help="Older episodes: their recordings, which tell that order.")] = None,
    task: Annotated[str, typer.Option(help="Older episodes: their task.")] = "scoop",
) -> None:
    """Turn labelled episodes into a replay buffer, or any data set into another format."""
    from training.interop.convert import Choices, convert_as_asked

    order = None if quaternion_order is None else quaternion_order.value
    if bags is not None:
        _check_order(source or dataset_path, bags, order, task)
    convert_as_asked(source, target, dataset_path=dataset_path, output=output, make_zip=make_zip, choices=Choices(
        override=override, fps_hz=fps, video=video, filter_key=filter_key, without_obs=without_obs,
        skip_incomplete=skip_incomplete, quaternion_order=order, task=task))


def _check_order(folder: Path | None, bags: Path, order: Literal["xyzw", "wxyz"] | None, task: str) -> None:
    from app.quaternion_order import require_quaternion_order
    from ladle.errors import ConfigError
    from ladle.task import load_task

    if folder is None or order is None:
        raise ConfigError("--bags checks what --quaternion-order says of a folder of older episodes; pass both")
    require_quaternion_order(folder, bags, order, load_task(task))


@data_app.command()
def inspect(
    path: Annotated[Path, typer.Argument(help="A recording, a folder of recordings, or a data set of any kind.")],
    msg: Annotated[list[Path] | None, typer.Option(help="Folder of .msg files, or one file, of own packages.")] = None,
    decode: Annotated[bool, typer.Option(help="Decode every message, and count those that cannot be.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", hidden=True, help="One row for each recording.")] = False,
) -> None:
    """Topics, rates, gaps, clock offsets and losses of a recording; episodes and streams of a data set."""
    from app import inspection
    from ladle.script import USER_ERROR_EXIT_CODE

    if markdown:
        typer.echo(inspection.markdown_table(path), nl=False)
        return
    reports = inspection.inspect(path, msg or (), decode_all=decode)
    typer.echo(inspection.as_json(reports) if as_json else inspection.as_text(reports))
    if inspection.nothing_readable(reports):
        raise typer.Exit(USER_ERROR_EXIT_CODE)


@data_app.command()
def verify(
    dataset: Annotated[Path, typer.Argument(help="Episodes, .zarr, .zarr.zip, .hdf5 or a LeRobot folder.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check checksums, lengths, stamps, quaternions, labels and frames; exit code 2 when something is wrong."""
    from app import verification
    from ladle.script import USER_ERROR_EXIT_CODE

    verdict = verification.verify(dataset)
    if as_json:
        typer.echo(verification.as_json(verdict))
    else:
        for line in (*verdict.notes, *verdict.faults):
            typer.echo(str(line))
        typer.echo(f"{dataset}: {verdict.episodes} episodes, {len(verdict.faults) or 'no'} faults")
    if verdict.faults:
        raise typer.Exit(USER_ERROR_EXIT_CODE)


@data_app.command()
def repair(
    dataset: Annotated[Path, typer.Argument(help="Folder of episodes.")],
    bags: Annotated[Path | None, typer.Option(help="Recordings: extract again what is missing or damaged.")] = None,
    task: Annotated[str | None, typer.Option(help="Default: the task that the episodes were extracted for.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Cores to use.")] = 2,
    msg: Annotated[list[Path] | None, typer.Option(help="Folder or .msg file with types of custom packages.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
) -> None:
    """Complete or drop half-made episodes; labels are never lost. Exit code 2 when something is left to mend."""
    from ladle.script import USER_ERROR_EXIT_CODE
    from ladle.task import load_task
    from read_sensors_utils.repairing import repair_folder

    repairs = repair_folder(dataset, bags=bags, task=load_task(task) if task else None, workers=workers,
                            definitions=msg or (), dry_run=dry_run)
    for line in repairs.done:
        typer.echo(f"would do: {line}" if dry_run else line)
    for fault in repairs.left:
        typer.echo(f"left: {fault}")
    if not repairs.done and not repairs.left:
        typer.echo(f"{dataset}: nothing to repair")
    if repairs.left:
        raise typer.Exit(USER_ERROR_EXIT_CODE)


@data_app.command()
def calibrate(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint folder or run folder of a policy.")],
    dataset: Annotated[Path, typer.Option(help="The replay buffer that it was trained on.")],
    decision_ticks: Annotated[int, typer.Option(min=1, help="Ticks between two decisions, as in deployment.")] = 4,
    device: Annotated[str, typer.Option(help="Where the network runs.")] = "cpu",
) -> None:
    """Give a policy a monitor that tells observations unlike the demonstrations, from its held-out episodes."""
    from training.calibrate import CalibrationSettings
    from training.calibrate import calibrate as run

    found = run(checkpoint, dataset, CalibrationSettings(decision_ticks=decision_ticks, device=device))
    for name, (slow, hold) in found["limits"].items():
        typer.echo(f"{name:<13} slow above {slow:.4g}, hold above {hold:.4g}")
