"""Several trainings as one command: seeds, and sweeps over values, one after the other or on a Ray cluster.

    ladle train --seeds 42,43,44 --config-name pusht_state training.max_steps=20000
    python ray_train_multirun.py --config-name=pusht_state --seeds=42,43,44 --gpus 1 -- diffusion.sampler=ddpm

Each run is a process of its own in a folder of its own, OUTPUT/seed_42; a failure costs no other run and is named at
the end. A value with commas, training.learning_rate=1e-3,1e-4, is a sweep: OUTPUT/training.learning_rate=0.001/seed_42.
The same command again goes on: finished runs are left alone, the others continue from their latest checkpoint.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import logging
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from app.multirun_metrics import RESULT_NAME, aggregate, table, write_json
from app.processes import end_with_parent
from ladle.errors import ConfigError, LadleError
from ladle.script import run_script
from read_sensors_utils.cluster import LOCAL, connected
from training.compose import PATH_KEYS
from training.loop import available_threads
from training.resume import CHECKPOINTS, latest_checkpoint
from training.run_log import LOG_NAME
from training.train import refuse_wrong_arguments

log = logging.getLogger("ladle.multirun")

OUTPUT_KEY, SEED_KEY = "training.output_dir", "training.seed"
TRAIN_LOG = "train.log"
DONE = "finished.txt"
CONFIG_OPTIONS = ("--config-name", "-cn", "--config")
LAST_WORDS = 200  # characters of a failed run's last line


@dataclass(frozen=True)
class Job:
    """One run: what `ladle train` is given, its folder, and the folder where that was typed."""

    name: str
    folder: Path
    arguments: tuple[str, ...]
    typed_in: Path


@dataclass(frozen=True)
class Resources:
    """What one run gets.

    Attributes:
        cpus: torch's threads and slots of the cluster; 0 leaves the threads to training and takes one slot.
        gpus: of the cluster, may be a share; None takes one where the cluster has any.
    """

    cpus: int = 0
    gpus: float | None = None


def names_seeds(arguments: Sequence[str]) -> bool:
    """Whether the command line asks for several runs."""
    return any(argument == "--seeds" or argument.startswith("--seeds=") for argument in arguments)


def main() -> None:
    """Entry of `python ray_train_multirun.py`: on Ray where it is installed."""
    here = None if importlib.util.find_spec("ray") is None else LOCAL
    run_script(lambda: multirun_from_arguments(sys.argv[1:], here))


def multirun_from_arguments(argv: Sequence[str], ray_address: str | None = None) -> None:
    """Run all that the command line asks for, then say what they reached together.

    ray_address: where the runs go unless the command line says; None for one after the other in this place.

    Raises:
        ConfigError: an argument that cannot be, no Ray, or at least one run failed.
    """
    parser = argparse.ArgumentParser(description="Train with several seeds, or over a sweep of values.",
                                     allow_abbrev=False)
    parser.add_argument("--seeds", required=True, type=_seeds, help="for example 42,43,44")
    parser.add_argument("--monitor_key", "--monitor-key", help="metric that is put together at the end")
    parser.add_argument("--ray", "--ray_address", metavar="ADDRESS", default=ray_address,
                        help="cluster (host:port, ray://host:port, auto), or local: one on this machine")
    parser.add_argument("--cpus", "--num_cpus", type=int, default=0, help="cores of each run; on Ray default 1")
    parser.add_argument("--gpus", "--num_gpus", type=float,
                        help="GPUs of each run on Ray, may be a share; default: 1 where there are any")
    options, others = parser.parse_known_args([argument for argument in argv if argument != "--"])
    output, common = _output(others)
    jobs = list(plan(common, options.seeds, output))
    for job in jobs[::len(options.seeds)]:  # each combination of values, with its first seed
        refuse_wrong_arguments(job.arguments)
    resources = Resources(options.cpus, options.gpus)
    results = run_here(jobs, resources) if options.ray is None else run_on_ray(jobs, resources, options.ray)
    failed = {name: reason for name, reason in results if reason}
    if any((job.folder / LOG_NAME).is_file() for job in jobs):
        _put_together(output, options.monitor_key)
    if failed:
        raise ConfigError(f"{len(failed)} of {len(jobs)} runs failed: "
                          + "; ".join(f"{name}: {reason}" for name, reason in failed.items())
                          + f" (see {TRAIN_LOG} in their folders); the same command again leaves finished runs alone")


def plan(arguments: Sequence[str], seeds: Sequence[int], output: Path) -> Iterator[Job]:
    """A job for each combination of swept values and each seed. Raises ConfigError on an override that cannot be."""
    choices = [_choices(argument) for argument in arguments]
    for combination in itertools.product(*choices):
        swept = [value for value, there in zip(combination, choices, strict=True) if len(there) > 1]
        for seed in seeds:
            parts = [value.replace("/", "_") for value in swept] + [f"seed_{seed}"]
            folder = output.joinpath(*parts)
            yield Job("/".join(parts), folder, (*combination, f"{SEED_KEY}={seed}", f"{OUTPUT_KEY}={folder}"),
                      Path.cwd())


def run_here(jobs: Sequence[Job], resources: Resources) -> Iterator[tuple[str, str]]:
    """One after the other: (name, why it failed or "")."""
    for number, job in enumerate(jobs):
        log.info("run %d of %d: %s", number + 1, len(jobs), job.name)
        yield job.name, run_job(job, resources)


def run_on_ray(jobs: Sequence[Job], resources: Resources, address: str) -> Iterator[tuple[str, str]]:
    """As many at once as the cluster has room for; (name, why it failed or "") as they end.

    Raises:
        ConfigError: Ray is not there, or no cluster answers, or none of its machines has so much for one run.
    """
    ray = connected(address, available_threads())
    try:
        there = ray.cluster_resources()
        gpus = min(1.0, there.get("GPU", 0.0)) if resources.gpus is None else resources.gpus
        wanted = {"CPU": max(1, resources.cpus), "GPU": gpus}
        for name, count in wanted.items():
            if count > there.get(name, 0):
                raise ConfigError(f"--{name.lower()}s {count:g} for each run, but the cluster {address} has "
                                  f"{there.get(name, 0):g}; ask for less")
        remote: Any = ray.remote(num_cpus=wanted["CPU"], num_gpus=wanted["GPU"], max_retries=0)(run_job)
        running: dict[Any, str] = {remote.remote(job, Resources(wanted["CPU"])): job.name for job in jobs}
        while running:
            (done,), _ = ray.wait(list(running), num_returns=1)
            name = running.pop(done)
            try:
                reason = str(ray.get(done))
            except ray.exceptions.RayError as error:
                reason = f"its worker was lost ({type(error).__name__})"
            log.info("%s: %s", name, reason or "done")
            yield name, reason
    finally:
        ray.shutdown()


def run_job(job: Job, resources: Resources) -> str:
    """Train in a process of its own, unless that is done; why it failed, "" where it did not."""
    job.folder.mkdir(parents=True, exist_ok=True)
    if _finished(job):
        log.info("%s is finished already", job.name)
        return ""
    chosen = resources.cpus and not any(argument.startswith("training.threads=") for argument in job.arguments)
    threads = [f"training.threads={resources.cpus}"] if chosen else []
    command = [sys.executable, "-m", "app.cli", "train", *job.arguments, *threads]
    with (job.folder / TRAIN_LOG).open("w") as words:
        code = subprocess.run(command, cwd=job.typed_in, stdin=subprocess.DEVNULL, stdout=words,
                              stderr=subprocess.STDOUT, preexec_fn=end_with_parent, check=False).returncode
    if code == 0:
        (job.folder / DONE).write_text(_said(job))
        return ""
    lines = (job.folder / TRAIN_LOG).read_text(errors="replace").strip().splitlines()
    return f"exit code {code}, {lines[-1][-LAST_WORDS:] if lines else 'no word'}"


def _said(job: Job) -> str:
    return "\n".join(job.arguments) + "\n"


def _finished(job: Job) -> bool:
    """Whether this very command has run to its end here, and its checkpoint is still there."""
    done = job.folder / DONE
    if not done.is_file() or done.read_text() != _said(job):
        return False
    try:
        last = latest_checkpoint(job.folder / CHECKPOINTS, "policy")
    except LadleError:
        return False
    return last is not None


def _seeds(text: str) -> list[int]:
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: expected whole numbers such as 42,43,44") from error
    if len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise argparse.ArgumentTypeError(f"{text!r}: each seed once, 0 or more")
    return seeds


def _output(arguments: Sequence[str]) -> tuple[Path, list[str]]:
    """The folder of all runs, made absolute, and the arguments without it."""
    given = [argument for argument in arguments if argument.startswith(f"{OUTPUT_KEY}=")]
    others = [argument for argument in arguments if argument not in given]
    if any(argument.startswith(f"{SEED_KEY}=") for argument in others):
        raise ConfigError(f"--seeds sets {SEED_KEY}; leave it out")
    if given:
        return Path(given[-1].partition("=")[2]).absolute(), others
    names = [argument.partition("=")[2] or later for argument, later in itertools.pairwise([*others, ""])
             if argument.partition("=")[0] in CONFIG_OPTIONS]
    name = Path(names[-1]).stem if names else "policy"
    return Path("results", f"{name}_multirun").absolute(), others


def _choices(argument: str) -> list[str]:
    """The values of a sweep as overrides of their own; anything else as it is."""
    key, equals, _ = argument.partition("=")
    if argument.startswith("-") or not equals or key.startswith("dataset.") or key.lstrip("+") in PATH_KEYS:
        return [argument]
    try:
        override = OverridesParser.create().parse_override(argument)
    except HydraException as error:
        raise ConfigError(f"cannot read {argument!r}: {str(error).splitlines()[0]}; write key=value") from error
    if not override.is_sweep_override():
        return [argument]
    return [f"{key}={value}" for value in override.sweep_string_iterator()]


def _put_together(output: Path, key: str | None) -> None:
    try:
        groups = aggregate([output], key)
    except ConfigError as error:
        log.warning("nothing to put together: %s", error)
        return
    write_json(groups, output / RESULT_NAME)
    sys.stdout.write(table(groups))
