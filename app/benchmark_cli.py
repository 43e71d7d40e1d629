"""`ladle bench`: figures that are measured on this machine, next to honest baselines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from ladle.errors import ConfigError

bench_app = typer.Typer(help="Measure against honest baselines on this machine.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@bench_app.command("train")
def bench_train(as_json: AsJson = False) -> None:
    """Training steps of the ready-made configurations against plain PyTorch eager."""
    from app.benchmarks.train import measure_train, table

    found = measure_train()
    typer.echo(json.dumps(found) if as_json else table(found))


@bench_app.command("load")
def bench_load(as_json: AsJson = False) -> None:
    """Window sampling against a per-sample sampler, a bare gather, and data larger than memory."""
    from app.benchmarks.load import measure_load, table

    found = measure_load()
    typer.echo(json.dumps(found) if as_json else table(found))


@bench_app.command("proof")
def bench_proof(
    name: Annotated[str, typer.Argument(help="pusht_state, pusht_image, pusht_image_gpu, scoop or scoop_mass.")],
    output: Annotated[Path, typer.Option(help="Folder of the run and of its curve or figures.")],
    resume: Annotated[bool, typer.Option(help="Go on with what the folder holds.")] = False,
    dataset: Annotated[Path | None, typer.Option(help="Of Push-T; default: data/ or ../shared/data.")] = None,
    scenes: Annotated[int | None, typer.Option(min=1, help="Of scooping: 100, or 30 for each asked mass.")] = None,
    override: Annotated[list[str] | None, typer.Option(help="Hydra override, key=value; may be repeated.")] = None,
) -> None:
    """A whole training with its rollouts; the same command with --resume goes on after a stop."""
    from app.benchmarks.proof import one_line, prove
    from app.benchmarks.proof_scoop import SCOOP_PROOFS, prove_scoop

    if name in SCOOP_PROOFS:
        if dataset is not None:
            raise ConfigError(f"the proof {name} simulates its own demonstrations; leave --dataset out")
        typer.echo(prove_scoop(SCOOP_PROOFS[name], output, resume=resume, scenes=scenes, overrides=override or ())[1])
        return
    if scenes is not None:
        raise ConfigError(f"--scenes is for the proofs of scooping; {name} has rollout.n_envs, see --override")
    typer.echo(one_line(prove(name, output, resume=resume, dataset=dataset, overrides=override or ())))


@bench_app.command("extract")
def bench_extract(
    seconds: Annotated[float, typer.Option(min=2.0, help="Length of the generated recording.")] = 30.0,
    full_resolution: Annotated[bool, typer.Option(help="Keep 640x480 instead of the task's 240x120.")] = False,
    as_json: AsJson = False,
) -> None:
    """Extraction against the straightforward pipeline and against reading and encoding alone."""
    from app.benchmarks.extract import measure_extract, table

    found = measure_extract(seconds, full_resolution=full_resolution)
    typer.echo(json.dumps(found) if as_json else table(found))


@bench_app.command("age")
def bench_age(
    minutes: Annotated[float, typer.Option(min=0.1, help="Length of the recording.")] = 10.0,
    camera_hz: Annotated[float, typer.Option(min=0.1, help="Rate of the cameras.")] = 14.2,
    latency_s: Annotated[float, typer.Option(min=0.0, help="From the light to the header stamp.")] = 0.04,
    as_json: AsJson = False,
) -> None:
    """Stored ages of a simulated recording against the true ones."""
    import dataclasses

    from app.benchmarks.age import measure_age

    found = dataclasses.asdict(measure_age(minutes, camera_hz, latency_s))
    typer.echo(json.dumps(found) if as_json else "\n".join(f"{name:22} {value}" for name, value in found.items()))


@bench_app.command("loop")
def bench_loop(
    seconds: Annotated[float, typer.Option(min=2.0, help="Length of the measurement.")] = 20.0,
    as_json: AsJson = False,
) -> None:
    """What the deployment's loop costs without inference: two cameras, 1 kHz joints, the Ruckig stream."""
    from app.benchmarks.loop import measure_loop

    found = measure_loop(seconds)
    typer.echo(json.dumps(found) if as_json else "\n".join(f"{name:26} {value}" for name, value in found.items()))


@bench_app.command("quality")
def bench_quality(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint folder of a scooping policy.")],
    scenes: Annotated[int, typer.Option(min=1, help="How many unseen scenes.")] = 10,
    first_scene: Annotated[int, typer.Option(help="Seed of the first evaluation scene.")] = 1000,
    chunking: Annotated[str, typer.Option(help="What is compared: replace, ensemble or real_time.")] = "replace",
    baseline_speed: Annotated[float, typer.Option(help="Of stop-and-go, in (0, 1]: 0.5 is 5 Hz of a 10 Hz task.")] = 1,
    output: Annotated[Path, typer.Option(help="Where the scenes go; those that are there already are kept.")] = Path(
        "quality_output"),
    as_json: AsJson = False,
) -> None:
    """Time per task and jerk against the open-loop stop-and-go scheme, on the same scenes in the simulator."""
    from app.benchmarks.quality import measure_quality, table
    from real_world_deployment.chunking import chunking_from_text

    found = measure_quality(checkpoint, output, scenes=scenes, first_scene=first_scene,
                            chunking=chunking_from_text(chunking), baseline_speed=baseline_speed)
    typer.echo(json.dumps(found) if as_json else table(found))


@bench_app.command("kills")
def bench_kills(
    kills: Annotated[int, typer.Option(min=1, help="How many runs to kill.")] = 200,
    seed: Annotated[int, typer.Option(help="Seed of the moments.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Kill -9 extractions and conversions at random moments; exit code 2 when anything is lost or left behind."""
    import dataclasses
    import tempfile

    from app.benchmarks.kills import run_kills
    from ladle.script import USER_ERROR_EXIT_CODE

    with tempfile.TemporaryDirectory(prefix="ladle-kills-") as folder:
        count = run_kills(Path(folder), kills, seed)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(count)))
    else:
        typer.echo(f"{count.kills} kills ({count.extraction} in extractions, {count.replacement} in replacements, "
                   f"{count.conversion} in conversions; {count.in_the_middle} found something half-written), "
                   f"{count.finished_runs} runs after them, {len(count.faults) or 'no'} faults, {count.seconds:.0f} s")
        for fault in count.faults:
            typer.echo(fault)
    if count.faults:
        raise typer.Exit(USER_ERROR_EXIT_CODE)


@bench_app.command("faults")
def bench_faults(
    only: Annotated[list[str] | None, typer.Option(help="Name of a fault; may be repeated. Default: all.")] = None,
    pace: Annotated[float, typer.Option(min=0.05, max=1.0, help="Simulated time as a share of real time.")] = 0.25,
    table: Annotated[Path | None, typer.Option(help="File whose table of faults is replaced, docs/safety.md.")] = None,
    as_json: AsJson = False,
) -> None:
    """Faults done to a moving simulated arm through real processes; exit code 2 when one does not end as it must."""
    import dataclasses

    from app.benchmarks.faults import run_faults, write_table
    from app.benchmarks.faults import table as table_of
    from ladle.script import USER_ERROR_EXIT_CODE

    found = run_faults(only or (), pace)
    typer.echo(json.dumps([dataclasses.asdict(result) for result in found]) if as_json else table_of(found))
    if table is not None:
        write_table(table, found)
    if any(result.problems for result in found):
        raise typer.Exit(USER_ERROR_EXIT_CODE)


@bench_app.command("motion")
def bench_motion(
    sequences: Annotated[int, typer.Option(min=1, help="How many random chunk sequences.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first sequence.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Random late chunks through every controller model, judged by the reflex model; exit code 2 for a broken limit."""
    from app.benchmarks.motion import measure_motion, table
    from ladle.script import USER_ERROR_EXIT_CODE

    found = measure_motion(sequences, seed)
    typer.echo(json.dumps({route: result.figures() for route, result in found.items()}) if as_json else table(found))
    if not all(result.is_well for result in found.values()):
        raise typer.Exit(USER_ERROR_EXIT_CODE)
