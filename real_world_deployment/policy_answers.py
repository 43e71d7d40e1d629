"""What a policy in another process or on another machine says of itself and of what went wrong: written and read."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from ladle.errors import LadleError
from ladle.policy import Policy, action_steps_of, can_continue, starts_of
from real_world_deployment.array_message import ArrayMessage

ASK, OBSERVE, RESET = "ask", "observe", "reset"
READY, CHUNK, FAILED, WATCH_FAILED = "ready", "chunk", "failed", "watch failed"
START_POSES = "start_poses"


def introduction(policy: Policy) -> ArrayMessage:
    """What a run must know of its policy before it asks."""
    return ArrayMessage(READY, {
        "n_obs_steps": policy.n_obs_steps, "observation_keys": list(policy.observation_keys),
        "n_action_steps": action_steps_of(policy), "continues": can_continue(policy)},
        {} if (starts := starts_of(policy)) is None else {START_POSES: starts})


class Introduced:
    """A policy elsewhere, once it has introduced itself.

    Attributes:
        n_obs_steps, observation_keys, n_action_steps: the policy's own.
        continues: whether the policy can continue a running chunk.
        start_poses: (n, 7) where its demonstrations began; None where it does not know.
    """

    n_obs_steps: int
    observation_keys: tuple[str, ...]
    n_action_steps: int | None
    continues: bool
    start_poses: NDArray[Any] | None

    def hear_introduction(self, ready: ArrayMessage) -> None:
        """Take over what `introduction` says."""
        self.n_obs_steps = int(ready.values["n_obs_steps"])
        self.observation_keys = tuple(ready.values["observation_keys"])
        self.n_action_steps = ready.values["n_action_steps"]
        self.continues = bool(ready.values["continues"])
        self.start_poses = ready.arrays.get(START_POSES)


def failure(question: str, error: Exception, number: int) -> ArrayMessage:
    """An error as the answer to a question of a kind: ASK or OBSERVE."""
    values: dict[str, Any] = {"number": number, "text": str(error), "type": type(error).__name__,
                              "is_users": isinstance(error, LadleError)}
    return ArrayMessage(FAILED if question == ASK else WATCH_FAILED, values)


def failure_text(message: ArrayMessage) -> str:
    """What a `failure` says: a user's error in its own words, any other with its type."""
    text, kind = message.values["text"], message.values["type"]
    return text if message.values["is_users"] else f"{kind}: {text}"
