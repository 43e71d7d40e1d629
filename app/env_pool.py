"""Episodes that a few processes step, so that a policy answers all of them in one batch."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.pusht import PushtEpisode
from ladle.errors import LadleError

JOIN_S = 5.0


class EpisodePool:
    """Push-T episodes spread over processes; with one worker they stay in this one. A context manager.

    Args:
        filmed: seeds of which pictures are kept.
    """

    def __init__(self, seeds: Sequence[int], streams: Sequence[str], n_obs_steps: int, max_steps: int, workers: int,
                 filmed: Sequence[int] = ()) -> None:
        self._seeds = list(seeds)
        shares = [self._seeds[number::workers] for number in range(workers) if self._seeds[number::workers]]
        arguments = (tuple(streams), n_obs_steps, max_steps, frozenset(filmed))
        self._workers: list[_Remote | _Local] = [
            _Local(share, *arguments) if len(shares) == 1 else _Remote(share, *arguments) for share in shares]
        self._of = {seed: worker for worker, share in zip(self._workers, shares, strict=True) for seed in share}

    def windows(self) -> dict[int, dict[str, NDArray[Any]]]:
        """Seed -> window of each episode that is not over, in the order of the seeds."""
        for worker in self._workers:
            worker.ask("windows", None)
        found = {seed: window for worker in self._workers for seed, window in worker.answer().items()}
        return {seed: found[seed] for seed in self._seeds if seed in found}

    def act(self, actions: dict[int, NDArray[np.float64]]) -> None:
        """Seed -> (Ta, 2) to execute; all workers at the same time."""
        for worker in self._workers:
            worker.ask("act", {seed: chunk for seed, chunk in actions.items() if self._of[seed] is worker})
        for worker in self._workers:
            worker.answer()

    def results(self) -> dict[int, dict[str, Any]]:
        """Seed -> score, n_steps and frames."""
        for worker in self._workers:
            worker.ask("results", None)
        found = {seed: result for worker in self._workers for seed, result in worker.answer().items()}
        return {seed: found[seed] for seed in self._seeds}

    def __enter__(self) -> EpisodePool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for worker in self._workers:
            worker.close()


class _Local:
    def __init__(self, seeds: Sequence[int], streams: tuple[str, ...], n_obs_steps: int, max_steps: int,
                 filmed: frozenset[int]) -> None:
        self._episodes = [PushtEpisode(seed, streams, n_obs_steps, max_steps, seed in filmed) for seed in seeds]
        self._answer: Any = None

    def ask(self, what: str, value: Any) -> None:
        if what == "windows":
            self._answer = {episode.seed: episode.window() for episode in self._episodes if not episode.done}
        elif what == "act":
            self._answer = None
            for episode in self._episodes:
                if episode.seed in value:
                    episode.act(value[episode.seed])
        else:
            self._answer = {episode.seed: {"score": episode.score, "n_steps": episode.n_steps,
                                           "frames": episode.frames} for episode in self._episodes}

    def answer(self) -> Any:
        return self._answer

    def close(self) -> None:
        self._episodes = []


class _Remote:
    def __init__(self, *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would take torch's threads along
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, arguments), daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, what: str, value: Any) -> None:
        self._pipe.send((what, value))

    def answer(self) -> Any:
        error, value = self._pipe.recv()
        if error is not None:
            raise error
        return value

    def close(self) -> None:
        self._pipe.close()
        self._process.join(JOIN_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _serve(pipe: Connection, arguments: tuple[Any, ...]) -> None:
    local: _Local | None = None
    while True:
        try:
            what, value = pipe.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            local = local or _Local(*arguments)
            local.ask(what, value)
            reply = (None, local.answer())
        except LadleError as error:
            reply = (error, None)
        pipe.send(reply)
