"""Recordings spread over a Ray cluster. Ray is optional; every node needs Ladle and the same folders."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ladle.errors import BagError, ConfigError, LadleError

if TYPE_CHECKING:
    from read_sensors_utils.extract_all import Job

LOCAL = "local"


def results_on_ray(jobs: Sequence[Job], run_job: Callable[[Job], LadleError | None], address: str,
                   workers: int) -> Generator[tuple[int, LadleError | None], None, None]:
    """(number, error or None) of every job as they come; the cluster is left at the end.

    Args:
        address: of a running cluster (host:port, ray://host:port or auto), or "local": one on this machine.
        workers: cores of a local one.

    Raises:
        ConfigError: Ray is not installed, or no cluster answers.
        BagError: a node was lost with its work.
    """
    ray = connected(address, workers)
    try:
        cores = int(ray.cluster_resources().get("CPU", 1))
        processes = max(1, cores // max(1, len(jobs)))
        remote: Any = ray.remote(num_cpus=processes, max_retries=0)(run_job)
        running: dict[Any, int] = {remote.remote(replace(job, processes=processes)): job.source.number for job in jobs}
        while running:
            (done,), _ = ray.wait(list(running), num_returns=1)
            number = running.pop(done)
            yield number, _result(ray, done, number)
    finally:
        ray.shutdown()


def connected(address: str, workers: int) -> Any:
    """Ray, joined to the cluster of an address, "local" with so many cores. Raises ConfigError as above."""
    try:
        import ray
    except ImportError as error:
        raise ConfigError("--ray needs the package ray; install it with: pip install 'ladle[cluster]'") from error
    own = {"num_cpus": workers, "include_dashboard": False} if address == LOCAL else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(f"--ray {address}: no Ray cluster answers there ({str(error).splitlines()[0][:200]}); start "
                          "one with `ray start --head`, or pass --ray local") from error
    return ray


def _result(ray: Any, done: Any, number: int) -> LadleError | None:
    try:
        return ray.get(done)
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError, ray.exceptions.OutOfMemoryError) as error:
        raise BagError(f"recording {number}: its worker on the Ray cluster was lost, perhaps for want of memory; "
                       "finished episodes are kept: run the same command again") from error
