"""How a new chunk and the one that is being executed become one motion, or two with a rest between them."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from ladle.chunks import covered, ensembled
from ladle.errors import DeploymentError
from ladle.policy import ActionChunk, Policy, RunningChunk, action_steps_of, can_continue
from ladle.task import TaskConfig

Chunking = Literal["replace", "ensemble", "real_time", "stop_and_go"]

REMEMBERED_DELAYS = 10  # the largest of so many is expected next (Black et al. 2025, algorithm 1)
REMEMBERED_CHUNKS = 8   # more than overlap anywhere
LEAD_IN_S = 0.5          # of stop_and_go, from the sending of a chunk to its first target
REST_S = 0.4              # how long the last target is held; of the tail that every plan has the rest follows
REST_SPACING_S = 0.1


def chunking_from_text(text: str) -> Chunking:
    """Raises DeploymentError for a word that is none of them."""
    for known in get_args(Chunking):
        if text == known:
            return known
    raise DeploymentError(f"chunking {text!r} is not one of {', '.join(get_args(Chunking))}")


def waits_for_rest(how: Chunking) -> bool:
    """Whether the policy is asked only when the motion has ended, so that each chunk is carried out to its rest."""
    return how == "stop_and_go"


class ChunkJoiner:
    """Remembers what is being executed; the ways of arXiv:2506.07339 and arXiv:2304.13705, and a baseline.

    replace: the new chunk as it is. ensemble: each of its targets averaged with the older chunks' for the same instant.
    real_time: the policy is handed the running chunk and continues it.
    stop_and_go: the open-loop baseline that these are measured against. The policy is asked only when the arm rests;
    the targets that it means to be executed (n_action_steps; all where it does not tell) follow LEAD_IN_S after they
    were sent, as far apart as they are, and the arm comes to rest at the last, within the time of any plan's tail.
    """

    def __init__(self, how: Chunking, policy: Policy, task: TaskConfig, latency_s: float, committed_s: float) -> None:
        """
        Args:
            latency_s: the least delay from a question to its use; longer ones are measured.
            committed_s: how long after its use a chunk still cannot change the motion.

        Raises:
            DeploymentError: real_time with a policy that cannot continue a chunk.
        """
        if how == "real_time" and not can_continue(policy):
            raise DeploymentError("chunking real_time needs a policy that can continue a chunk (predict_next), and "
                                  "this one cannot; choose replace or ensemble")
        self._how: Chunking = how
        self._latency_s, self._committed_s = latency_s, committed_s
        self._n_action_steps = action_steps_of(policy)
        self._poses = tuple(part.name for part in task.action if part.kind == "pose")
        self._chunks: deque[ActionChunk] = deque(maxlen=REMEMBERED_CHUNKS)
        self._delays_s: deque[float] = deque(maxlen=REMEMBERED_DELAYS)

    @property
    def expected_delay_s(self) -> float:
        """From the next question to the first change of the motion by its answer."""
        return max([self._latency_s, *self._delays_s]) + self._committed_s

    @property
    def waits_for_rest(self) -> bool:
        """As the function says."""
        return waits_for_rest(self._how)

    def reset(self) -> None:
        """Forget the run."""
        self._chunks.clear()
        self._delays_s.clear()

    def running(self, now_s: float) -> RunningChunk | None:
        """What a question that is put now is to be told of the motion; None where it is to know nothing."""
        if self._how != "real_time" or not self._chunks or self._chunks[-1].times_s[-1] <= now_s:
            return None
        return RunningChunk(self._chunks[-1], now_s + self.expected_delay_s)

    def joined(self, chunk: ActionChunk, delay_s: float, now_s: float) -> ActionChunk:
        """What is to be executed from now on of an answer that took so long."""
        self._delays_s.append(delay_s)
        if self.waits_for_rest:
            return led_in(chunk, self._n_action_steps, now_s)
        if self._how != "ensemble":
            return chunk
        overlapping = [old for old in self._chunks if bool(covered(old, chunk.times_s).any())]
        return ensembled([*overlapping, chunk], self._poses)

    def keep(self, answer: ActionChunk) -> None:
        """The motion now follows this answer; an average is of answers, never of averages."""
        self._chunks.append(answer)


def led_in(chunk: ActionChunk, n_targets: int | None, now_s: float) -> ActionChunk:
    """The first n_targets (None: all) as far apart as they are, the first of them LEAD_IN_S from now.

    Its time counts from there, so that a lower speed draws the targets apart and leaves the lead-in.
    """
    times_s, first_s = chunk.times_s[:n_targets], now_s + LEAD_IN_S
    parts = {name: part[:n_targets] for name, part in chunk.parts.items()}
    return replace(chunk, observation_time_s=first_s, times_s=times_s - times_s[0] + first_s, parts=parts)


def rested(chunk: ActionChunk, rest_s: float) -> ActionChunk:
    """The chunk with its last target held for so long: a motion that comes to rest there, and does not glide beyond."""
    n = round(rest_s / REST_SPACING_S)
    more_s = chunk.times_s[-1] + REST_SPACING_S * np.arange(1, n + 1, dtype=np.float64)
    parts = {name: np.concatenate([part, np.repeat(part[-1:], n, axis=0)]) for name, part in chunk.parts.items()}
    return replace(chunk, times_s=np.concatenate([chunk.times_s, more_s]), parts=parts)
