"""The command line: every stage of the pipeline under one name.

Each command imports what it needs when it is called, so that `ladle --help` answers at once and a machine without
torch can still extract and label.
"""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from app.benchmark_cli import bench_app
from ladle.script import run_script

app = typer.Typer(
    name="ladle",
    help="From a rosbag of a person showing a robot a task to the robot doing it by itself.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(bench_app, name="bench")

FORWARD = {"ignore_unknown_options": True, "allow_extra_args": True}
Task = Annotated[str, typer.Option(help="Task name or path of a task file.")]


class ControllerName(str, Enum):
    """How motion reaches the arm."""

    JTC = "jtc"
    RUCKIG = "ruckig"


class RobotName(str, Enum):
    """Whether the arm is simulated."""

    SIM = "sim"
    FRANKA = "franka"


class Storage(str, Enum):
    """File format of a recorded bag."""

    MCAP = "mcap"
    DB3 = "db3"


def main() -> None:
    """Entry point of `ladle`."""
    run_script(app)


@app.command()
def simulate(
    output: Annotated[Path, typer.Argument(help="Where the bags and data.csv go.")],
    demonstrations: Annotated[int, typer.Option(min=1, help="How many to record.")] = 50,
    first_seed: Annotated[int, typer.Option(help="Seed of the first training scene.")] = 0,
    storage: Annotated[Storage, typer.Option(help="File format of the bags.")] = Storage.MCAP,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
) -> None:
    """Let the simulated expert scoop, and record ROS 2 bags of it."""
    from simulation.record import record_demonstrations

    record_demonstrations(output, demonstrations, first_seed=first_seed, storage=storage.value, workers=workers)


@app.command()
def extract(
    path_load: Annotated[Path, typer.Option(help="Folder with numbered bags, or one bag.")],
    path_save: Annotated[Path, typer.Option(help="Folder of episodes to write.")],
    task: Task = "scoop",
    override: Annotated[bool, typer.Option(help="Replace episodes that are already there.")] = False,
    annotations: Annotated[bool, typer.Option(help="Only bring the labels to the ticks.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Cores to use; default: all.")] = None,
    ray: Annotated[str | None, typer.Option(help="Ray cluster that does the work; local starts one here.")] = None,
    msg: Annotated[list[Path] | None, typer.Option(help="Folder or .msg file with types of custom packages.")] = None,
) -> None:
    """Turn bags into episodes aligned in time."""
    from ladle.episode import EpisodeFolder
    from ladle.task import load_task
    from read_sensors_utils.annotations import interpolate_labels
    from read_sensors_utils.extract_all import DEFAULT_WORKERS, extract_all

    if annotations:
        interpolate_labels(EpisodeFolder(path_save), load_task(task), required=True)
    else:
        extract_all(path_load, path_save, load_task(task), override=override, workers=workers or DEFAULT_WORKERS,
                    ray_address=ray, definitions=msg or ())


@app.command()
def annotate(
    folder_to_parse: Annotated[Path, typer.Option(help="Folder of episodes.")],
    skip: Annotated[bool, typer.Option("--skip", help="Leave out videos that are labelled already.")] = False,
    episode: Annotated[int | None, typer.Option(help="Only the episode of this number.")] = None,
    task: Task = "scoop",
) -> None:
    """Label the frames of the colour videos by keyboard."""
    from annotator.annotator_parsor import annotate as run
    from ladle.episode import EpisodeFolder
    from ladle.task import load_task

    run(EpisodeFolder(folder_to_parse), load_task(task), skip=skip, episode=episode)


@app.command()
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
) -> None:
    """Turn labelled episodes into a replay buffer, or any data set into another format."""
    from training.interop.convert import Choices, convert_as_asked

    convert_as_asked(source, target, dataset_path=dataset_path, output=output, make_zip=make_zip, choices=Choices(
        override=override, fps_hz=fps, video=video, filter_key=filter_key, without_obs=without_obs,
        skip_incomplete=skip_incomplete))


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(help="A recording, a folder of recordings, or a data set of any kind.")],
    msg: Annotated[list[Path] | None, typer.Option(help="Folder of .msg files, or one file, of own packages.")] = None,
    decode: Annotated[bool, typer.Option(help="Decode every message, and count those that cannot be.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", hidden=True, help="One row for each recording.")] = False,
) -> None:
    """Topics, rates, gaps, clock offsets and losses of a recording; episodes and streams of a data set."""
    from app import inspection

    if markdown:
        typer.echo(inspection.markdown_table(path), nl=False)
        return
    reports = inspection.inspect(path, msg or (), decode_all=decode)
    typer.echo(inspection.as_json(reports) if as_json else inspection.as_text(reports))


@app.command()
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


@app.command()
def repair(
    dataset: Annotated[Path, typer.Argument(help="Folder of episodes.")],
    bags: Annotated[Path | None, typer.Option(help="Recordings: extract again what is missing or damaged.")] = None,
    task: Annotated[str | None, typer.Option(help="Default: the task that the episodes were extracted for.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Cores to use.")] = 2,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
) -> None:
    """Complete or drop half-made episodes; labels are never lost. Exit code 2 when something is left to mend."""
    from ladle.script import USER_ERROR_EXIT_CODE
    from ladle.task import load_task
    from read_sensors_utils.repairing import repair_folder

    repairs = repair_folder(dataset, bags=bags, task=load_task(task) if task else None, workers=workers,
                            dry_run=dry_run)
    for line in repairs.done:
        typer.echo(f"would do: {line}" if dry_run else line)
    for fault in repairs.left:
        typer.echo(f"left: {fault}")
    if not repairs.done and not repairs.left:
        typer.echo(f"{dataset}: nothing to repair")
    if repairs.left:
        raise typer.Exit(USER_ERROR_EXIT_CODE)


@app.command("train-classifier", context_settings=FORWARD, add_help_option=False)
def train_classifier(context: typer.Context) -> None:
    """Train the stage classifier (Hydra overrides: key=value)."""
    from training.train_classifier import train_from_arguments

    train_from_arguments(context.args)


@app.command(context_settings=FORWARD, add_help_option=False)
def train(context: typer.Context) -> None:
    """Train the diffusion policy (Hydra overrides: key=value)."""
    from app.runners import make_runner
    from training.train import train_from_arguments

    train_from_arguments(context.args, make_runner)


@app.command()
def up(
    checkpoint: Annotated[Path, typer.Option(help="Checkpoint folder of the policy.")],
    task: Task = "scoop",
    controller: Annotated[ControllerName, typer.Option(help="How motion reaches the arm.")] = ControllerName.JTC,
    robot: Annotated[RobotName, typer.Option(help="Simulated or real.")] = RobotName.SIM,
    driver_limits: Annotated[bool, typer.Option(help="Says that the robot's driver limits set-points.")] = False,
) -> None:
    """Start the nodes of the deployment, as `ros2 launch ladle_bringup deploy.launch.py` does."""
    from app.up import bring_up

    bring_up(task=task, checkpoint=checkpoint, controller=controller.value, robot=robot.value,
             driver_limits=driver_limits)


@app.command("eval")
def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint folder of the policy.")],
    scenes: Annotated[int | None, typer.Option(min=1, help="How many unseen scenes: 10, or 50 of Push-T.")] = None,
    first_scene: Annotated[int | None, typer.Option(help="Seed of the first evaluation scene.")] = None,
    controller: Annotated[ControllerName, typer.Option(help="How motion reaches the arm.")] = ControllerName.JTC,
    controls: Annotated[bool, typer.Option(help="Also run the blind and the replay policy.")] = False,
    dataset: Annotated[Path | None, typer.Option(help="Episodes for the replay policy.")] = None,
    output: Annotated[Path, typer.Option(help="Where eval_log.json and the videos go.")] = Path("eval_output"),
    seed: Annotated[int, typer.Option(help="Seed of the policy's noise.")] = 0,
) -> None:
    """Close the loop in the task's environment: in gym-pusht, or in the simulator through ROS 2."""
    from app.evaluation import evaluate as run
    from app.runners import PUSHT
    from training.checkpoint import open_checkpoint

    if open_checkpoint(checkpoint, "policy").task.name == PUSHT:
        from app.eval_script import evaluate_by_task

        typer.echo(evaluate_by_task(checkpoint, output, episodes=scenes, first_seed=first_scene, seed=seed))
        return
    found = run(checkpoint, scenes=scenes or 10, first_scene=first_scene or 0, controller=controller.value,
                controls=controls, dataset=dataset, output=output, seed=seed)
    for name, evaluation in found.items():
        typer.echo(f"{name:<10} {sum(evaluation.successes)} of {len(evaluation.successes)} scenes; {output}")


@app.command()
def analyse(
    checkpoint: Annotated[Path, typer.Option(help="Checkpoint folder or run folder of a policy.")],
    dataset: Annotated[Path, typer.Option(help="replay_buffer.zarr or .zarr.zip")],
    index_episode: Annotated[int, typer.Option(help="0 is the first in the dataset.")],
    output: Annotated[Path, typer.Option(help="Folder for the figure and the numbers.")],
) -> None:
    """Compare predicted with recorded action chunks over one episode."""
    from analysis.predictions.robot_dataset import analyse_episode, one_line_summary

    typer.echo(one_line_summary(analyse_episode(checkpoint, dataset, index_episode, output)))


@app.command()
def demo(
    output: Annotated[
        Path | None, typer.Option(help="Where everything goes: demo_output, or demo_output_quick.")
    ] = None,
    quick: Annotated[bool, typer.Option(help="Every stage on a few episodes and steps, in minutes.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the training and of the evaluation scenes.")] = 0,
    controls: Annotated[bool, typer.Option(help="Also run the blind and the replay policy.")] = False,
) -> None:
    """The whole loop on this machine: demonstrations, bags, labels, training, ROS 2, analysis."""
    from app.demo import run_demo

    folder = output or Path("demo_output_quick" if quick else "demo_output")
    run_demo(folder, quick=quick, seed=seed, controls=controls)


if __name__ == "__main__":
    main()
