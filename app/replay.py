"""`ladle replay`: a recorded run once more through a policy, without a robot, and where its decisions differ."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.run_reading import RunEvent, run_events
from ladle.errors import BagError
from ladle.policy import ActionChunk, ObservationWindow, Policy, RunningChunk
from ladle_nodes.policies import PolicyRecipe
from real_world_deployment.policy_caller import WatchingPolicy, answer_to
from real_world_deployment.policy_messages import to_chunk, to_window
from real_world_deployment.run_recorder import ASK, CHUNK, FAILED, INFO, OBSERVE, RESET, RUNNING

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Decision:
    """One question and how the two answers to it differ.

    Attributes:
        scene: how many runs of the recording began before.
        tick: of the run, counting those at which the policy only watched.
        time_s: decision time.
        position_m, rotation_rad: largest difference over the horizon, None for a policy without poses.
        other: largest difference of any other action part or probability, 0 where there is none.
        stages: recorded and replayed stage.
        identical: bit for bit.
        remark: why there was nothing to compare; else empty.
    """

    scene: int
    tick: int
    time_s: float
    position_m: float | None = None
    rotation_rad: float | None = None
    other: float = 0.0
    stages: tuple[int | None, int | None] = (None, None)
    identical: bool = False
    remark: str = ""


@dataclass
class ReplayResult:
    """All decisions of a run, and how many events of it were lost when it was recorded."""

    recorded: str
    replayed: str
    lost: int = 0
    decisions: list[Decision] = field(default_factory=list[Decision])

    @property
    def different(self) -> list[Decision]:
        """Those that are not the same bit for bit."""
        return [decision for decision in self.decisions if not decision.identical]

    def as_json(self) -> str:
        """One object."""
        return json.dumps({"recorded": self.recorded, "replayed": self.replayed, "lost": self.lost,
                           "decisions": len(self.decisions), "different": len(self.different),
                           "differences": [asdict(decision) for decision in self.different]})

    def as_text(self) -> str:
        """A table of the decisions that differ."""
        missing = f"; {self.lost} events are missing from the recording" if self.lost else ""
        lines = [f"{len(self.different)} of {len(self.decisions)} decisions differ; {self.recorded} was recorded, "
                 f"{self.replayed} replayed{missing}"]
        if self.different:
            lines.append("scene  tick   time s  position mm  rotation deg     other  stage")
        for d in self.different:
            position = "-" if d.position_m is None else f"{1000 * d.position_m:.3f}"
            rotation = "-" if d.rotation_rad is None else f"{np.degrees(d.rotation_rad):.3f}"
            stage = "" if d.stages[0] == d.stages[1] else f"{d.stages[0]} -> {d.stages[1]}"
            lines.append(f"{d.scene:5} {d.tick:5} {d.time_s:8.3f} {position:>12} {rotation:>13} {d.other:9.3g}  "
                         f"{d.remark or stage}")
        return "\n".join(lines)


def replay(run: Path, checkpoint: Path | None = None) -> ReplayResult:
    """Show a policy exactly what was seen, when it was seen, and compare what it answers.

    Args:
        run: folder of the recording.
        checkpoint: another policy than the recorded one.

    Raises:
        LadleError: the recording is not one of a run, or the policy cannot be made.
    """
    replayer: _Replayer | None = None
    for event in run_events(run):
        if event.message.kind == INFO and replayer is None:
            recorded = PolicyRecipe.from_json(json.dumps(event.message.values["policy"]))
            recipe = recorded if checkpoint is None else recorded.with_checkpoint(checkpoint)
            replayer = _Replayer(recipe.make(), ReplayResult(_name(recorded), _name(recipe)))
        if replayer is not None:
            replayer.take(event)
    if replayer is None:
        raise BagError(f"{run} does not say which policy ran; it is cut off at its beginning")
    replayer.finish()
    return replayer.result


class _Replayer:
    """Goes through the events; an answer is compared when it comes, or when the next question shows that none came."""

    def __init__(self, policy: Policy, result: ReplayResult) -> None:
        self.result = result
        self._policy = policy
        self._scene, self._tick = -1, -1
        self._asked: tuple[ObservationWindow, ActionChunk | str] | None = None
        self._running: RunningChunk | None = None

    def take(self, event: RunEvent) -> None:
        """The next event."""
        message = event.message
        self.result.lost += event.lost
        if message.kind == INFO:
            self.finish()
            self._scene, self._tick = self._scene + 1, -1
        elif message.kind == RESET:
            self._policy.reset(message.values["seed"])
        elif message.kind == OBSERVE:
            self._tick += 1
            if isinstance(self._policy, WatchingPolicy):
                try:
                    self._policy.observe(to_window(message, event.images))
                except Exception:  # as in the run, whose next question is what counts
                    return
        elif message.kind == RUNNING:
            self._running = RunningChunk(to_chunk(message), message.values["frozen_until_s"])
        elif message.kind == ASK:
            self.finish()
            self._tick += 1
            window = to_window(message, event.images)
            try:
                running, self._running = self._running, None
                self._asked = window, answer_to(self._policy, window, running)
            except Exception as error:  # whatever a policy raises is one of its answers
                self._asked = window, f"{type(error).__name__}: {error}"
        elif message.kind == CHUNK:
            self._compare(to_chunk(message))
        elif message.kind == FAILED:
            self._compare(message.values["text"])

    def finish(self) -> None:
        """A question that was never answered, as when the run ended."""
        if self._asked is not None:
            self._note(Decision(self._scene, self._tick, self._asked[0].decision_time_s, identical=True,
                                remark="not answered in the run"))

    def _compare(self, recorded: ActionChunk | str) -> None:
        if self._asked is None:
            return
        window, replayed = self._asked
        if isinstance(recorded, str) or isinstance(replayed, str):
            both = isinstance(recorded, str) and isinstance(replayed, str)
            said = "both failed" if both else f"failed in the {'run' if isinstance(recorded, str) else 'replay'} only"
            self._note(Decision(self._scene, self._tick, window.decision_time_s, remark=said, identical=both))
        else:
            self._note(compare(self._scene, self._tick, window.decision_time_s, recorded, replayed))

    def _note(self, decision: Decision) -> None:
        self.result.decisions.append(decision)
        self._asked = None


def compare(scene: int, tick: int, time_s: float, recorded: ActionChunk, replayed: ActionChunk) -> Decision:
    """How far two answers to one question are apart; where one is longer, over what both say."""
    ours, theirs = _arrays(recorded), _arrays(replayed)
    identical = ours.keys() == theirs.keys() and recorded.stage == replayed.stage and all(
        ours[name].shape == theirs[name].shape and ours[name].dtype == theirs[name].dtype
        and ours[name].tobytes() == theirs[name].tobytes() for name in ours)
    n = min(len(recorded.times_s), len(replayed.times_s))
    position_m = rotation_rad = None
    if "pose" in ours and "pose" in theirs:
        a, b = (np.asarray(arrays["pose"][:n], np.float64) for arrays in (ours, theirs))
        position_m = float(np.linalg.norm(a[:, :3] - b[:, :3], axis=1).max())
        rotation_rad = float(_angle_rad(a[:, 3:], b[:, 3:]).max())
    others = [float(np.abs(ours[name][:n] - theirs[name][:n]).max()) for name in ours
              if name != "pose" and name in theirs and ours[name].shape[1:] == theirs[name].shape[1:]]
    return Decision(scene, tick, time_s, position_m, rotation_rad, max(others, default=0.0),
                    (recorded.stage, replayed.stage), identical)


def _angle_rad(a: Floats, b: Floats) -> Floats:
    """(n,) between unit quaternions (n, 4); by the chord, which is exact for small angles."""
    chord = np.minimum(np.linalg.norm(a - b, axis=1), np.linalg.norm(a + b, axis=1))
    return 4.0 * np.arcsin(np.clip(chord / 2.0, 0.0, 1.0))


def _arrays(chunk: ActionChunk) -> dict[str, NDArray[np.float64]]:
    found = {"times": chunk.times_s, **chunk.parts}
    if chunk.stage_probabilities is not None:
        found["stage probabilities"] = chunk.stage_probabilities
    return found


def _name(recipe: PolicyRecipe) -> str:
    return recipe.checkpoint if recipe.kind == "checkpoint" else f"{recipe.kind} {recipe.checkpoint}".strip()
