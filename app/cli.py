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
from app.data_cli import data_app
from app.run_cli import run_app
from ladle.script import run_script

app = typer.Typer(
    name="ladle",
    help="From a rosbag of a person showing a robot a task to the robot doing it by itself.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(data_app)
app.add_typer(run_app)
app.add_typer(bench_app, name="bench")

FORWARD = {"ignore_unknown_options": True, "allow_extra_args": True}
Task = Annotated[str, typer.Option(help="Task name or path of a task file.")]


class ControllerName(str, Enum):
    """How motion reaches the arm."""

    JTC = "jtc"
    RUCKIG = "ruckig"


class ChunkingName(str, Enum):
    """What becomes of the running chunk when the next one comes."""

    REPLACE = "replace"
    ENSEMBLE = "ensemble"
    REAL_TIME = "real_time"
    STOP_AND_GO = "stop_and_go"


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
    mass_range: Annotated[
        tuple[float, float] | None,
        typer.Option(help="Least and greatest mass in grams, as 1 4.5: each time the expert brings another one."),
    ] = None,
) -> None:
    """Let the simulated expert scoop, and record ROS 2 bags of it."""
    from simulation.record import record_demonstrations

    record_demonstrations(output, demonstrations, first_seed=first_seed, storage=storage.value, workers=workers,
                          mass_range_g=mass_range)


@app.command("export-two-arms")
def export_two_arms(
    output: Annotated[Path, typer.Argument(help="Replay buffer to write, as data/two_arms.zarr.")],
    episodes: Annotated[int, typer.Option(min=1, help="How many to record.")] = 3,
    first_seed: Annotated[int, typer.Option(help="Seed of the first training scene.")] = 0,
    seconds: Annotated[float | None, typer.Option(help="How much of each is kept; default: all.")] = None,
) -> None:
    """Let two simulated arms scoop side by side, for the configuration aloha: three cameras, 14 joints."""
    from simulation.expert import DURATION_S
    from simulation.two_arm_export import export_two_arms as export

    export(output, episodes, first_seed=first_seed, seconds=DURATION_S if seconds is None else seconds)


@app.command()
def extract(
    path_save: Annotated[Path, typer.Option(help="Folder of episodes to write.")],
    path_load: Annotated[Path | None, typer.Option(help="Folder with numbered bags, or one bag.")] = None,
    task: Task = "scoop",
    override: Annotated[bool, typer.Option(help="Replace episodes that are already there.")] = False,
    annotations: Annotated[bool, typer.Option(help="Only bring the labels to the ticks.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Cores to use; default: all.")] = None,
    ray: Annotated[str | None, typer.Option(help="Ray cluster that does the work; local starts one here.")] = None,
    msg: Annotated[list[Path] | None, typer.Option(help="Folder or .msg file with types of custom packages.")] = None,
) -> None:
    """Turn bags into episodes aligned in time."""
    from ladle.errors import ConfigError
    from ladle.task import load_task
    from read_sensors_utils.annotations import bring_labels_to_ticks
    from read_sensors_utils.extract_all import DEFAULT_WORKERS, NO_PATH_LOAD, extract_and_tell

    if annotations:
        bring_labels_to_ticks(path_save, load_task(task))
    elif path_load is None:
        raise ConfigError(NO_PATH_LOAD)
    else:
        extract_and_tell(path_load, path_save, load_task(task), override=override, workers=workers or DEFAULT_WORKERS,
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


@app.command("train-classifier", context_settings=FORWARD, add_help_option=False)
def train_classifier(context: typer.Context) -> None:
    """Train the stage classifier (Hydra overrides: key=value)."""
    from training.train_classifier import train_from_arguments

    train_from_arguments(context.args)


@app.command(context_settings=FORWARD, add_help_option=False)
def train(context: typer.Context) -> None:
    """Train the diffusion policy (Hydra overrides: key=value); with --seeds 42,43,44 several times."""
    from app.train_script import train as run

    run(context.args)


@app.command()
def up(
    checkpoint: Annotated[Path | None, typer.Option(help="Checkpoint folder of the policy.")] = None,
    remote_policy: Annotated[bool, typer.Option(help="Ask a policy that `ladle serve` runs elsewhere.")] = False,
    task: Task = "scoop",
    controller: Annotated[ControllerName, typer.Option(help="How motion reaches the arm.")] = ControllerName.JTC,
    robot: Annotated[RobotName, typer.Option(help="Simulated or real.")] = RobotName.SIM,
    driver_limits: Annotated[bool, typer.Option(help="Says that the robot's driver limits set-points.")] = False,
    speed: Annotated[float | None, typer.Option(help="Share of full speed; default 1, on a real robot 0.1.")] = None,
    autostart: Annotated[bool | None, typer.Option(
        help="Begin at once, or at `ladle control start`; default: at once, on a real robot not.")] = None,
    hold_topic: Annotated[str, typer.Option(help="Joy topic of a button that must be held for the arm to move.")] = "",
    hold_button: Annotated[int, typer.Option(help="Index of that button.")] = 0,
    chunking: Annotated[ChunkingName, typer.Option(
        help="How a chunk meets the running one; ensemble and real_time need speed 1.")] = ChunkingName.REPLACE,
    target_mass_g: Annotated[float | None, typer.Option(help="Final mass to ask the policy for, in grams.")] = None,
    guidance_weight: Annotated[float | None, typer.Option(help="How hard to ask: 1, the default, as learnt.")] = None,
    record: Annotated[Path | None, typer.Option(help="New folder that records the run, for ladle replay.")] = None,
) -> None:
    """Start the nodes of the deployment, as `ros2 launch ladle_bringup deploy.launch.py` does."""
    from app.up import bring_up
    from ladle.errors import ConfigError
    from ladle_bringup.description import guidance_parameters

    if (checkpoint is None) != remote_policy:
        raise ConfigError("a run needs a policy: either --checkpoint FOLDER or --remote-policy")
    wish = None
    if checkpoint is not None:
        from app.mass_options import mass_wish

        wish = mass_wish(checkpoint, target_mass_g, None, guidance_weight)[0]
    elif target_mass_g is not None or guidance_weight is not None:
        raise ConfigError("--target-mass-g and --guidance-weight belong where the policy runs: to `ladle serve`")
    bring_up(task=task, checkpoint=checkpoint, controller=controller.value, robot=robot.value,
             driver_limits=driver_limits, hold_topic=hold_topic, hold_button=hold_button, chunking=chunking.value,
             record="" if record is None else str(record.absolute()),
             autostart={None: "", True: "true", False: "false"}[autostart],
             **({} if speed is None else {"speed": speed}), **guidance_parameters(wish))


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
    chunking: Annotated[ChunkingName, typer.Option(
        help="How a chunk meets the running one; stop_and_go, with a rest between two, is a baseline."
    )] = ChunkingName.REPLACE,
    latency: Annotated[float | None, typer.Option(
        min=0.0, help="Seconds from a decision to its chunk: 0.1, or 0 of Push-T.")] = None,
    speed: Annotated[float, typer.Option(help="Share of full speed, in (0, 1].")] = 1.0,
    time_limit: Annotated[float | None, typer.Option(
        min=1.0, help="Longest duration of a scene in simulated seconds: 25.")] = None,
    target_mass_g: Annotated[float | None, typer.Option(help="Final mass to ask the policy for, in grams.")] = None,
    target_masses: Annotated[str | None, typer.Option(help="Ask for each in turn, as 1.5,2.5,3.5.")] = None,
    guidance_weight: Annotated[float | None, typer.Option(help="How hard to ask: 1, the default, as learnt.")] = None,
) -> None:
    """Close the loop in the task's environment: in gym-pusht, or in the simulator through ROS 2."""
    from app.evaluation import evaluate as run
    from app.mass_options import mass_wish
    from app.runners import PUSHT
    from ladle_bringup.settings import BringupSettings
    from real_world_deployment.chunking import chunking_from_text
    from training.checkpoint import open_checkpoint

    guidance, wishes = mass_wish(checkpoint, target_mass_g, target_masses, guidance_weight, controls=controls)
    if wishes:
        from app.evaluation import evaluate_masses
        from ladle.errors import ConfigError

        if latency is not None or time_limit is not None or speed != 1.0:
            raise ConfigError("--target-masses is measured as published; leave --latency, --speed and --time-limit out")

        made = evaluate_masses(checkpoint, wishes, scenes=scenes or 10, first_scene=first_scene or 0,
                               controller=controller.value, output=output, seed=seed, chunking=chunking.value)
        typer.echo("\n".join([*made.lines(), str(output)]))
        return
    if open_checkpoint(checkpoint, "policy").task.name == PUSHT:
        from app.eval_script import evaluate_by_task
        from ladle.errors import ConfigError

        if speed != 1.0 or time_limit is not None:
            raise ConfigError("--speed and --time-limit are of an arm's run, and Push-T has no arm; leave them out")
        typer.echo(evaluate_by_task(checkpoint, output, episodes=scenes, first_seed=first_scene, seed=seed,
                                    chunking=chunking_from_text(chunking.value), latency_s=latency))
        return
    found = run(checkpoint, scenes=scenes or 10, first_scene=first_scene or 0, controller=controller.value,
                controls=controls, dataset=dataset, output=output, seed=seed, guidance=guidance,
                chunking=chunking.value, latency_s=BringupSettings.latency_s if latency is None else latency,
                speed=speed, time_limit_s=BringupSettings.time_limit_s if time_limit is None else time_limit)
    for name, evaluation in found.items():
        typer.echo(f"{name:<10} {evaluation.one_line()}; {output}")


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
