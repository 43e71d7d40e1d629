"""A short recorded run of the hold policy, as the policy's node would record it; in a process that may be killed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from ladle.policy import ActionChunk, ObservationWindow
from ladle.task import load_task
from ladle_nodes.policies import PolicyRecipe
from real_world_deployment.controllers import JtcMessage
from real_world_deployment.policy_caller import SynchronousCaller
from real_world_deployment.run_recorder import RecordedCaller, RecordedPolicy, RunRecorder

START_NS = 1_700_000_000 * 10**9
RECIPE = PolicyRecipe("hold", "scoop")
SOME_BYTES = 1_200_000  # of 60 frames of 86 kB each


def window(tick: int) -> ObservationWindow:
    """One observation with a frame that tells the tick."""
    random = np.random.default_rng(tick)
    pose = np.array([[0.4 + 0.01 * tick, 0.0, 1 / 3, 1.0, 0.0, 0.0, 0.0]])
    frame = random.integers(0, 256, (1, 120, 240, 3), dtype=np.uint8)
    return ObservationWindow(0.1 * tick + 0.05, np.array([0.1 * tick]), {"eef": pose, "camera_1": frame})


class Shifted:
    """The hold policy that errs by some metres, from a tick on: not what the recipe makes."""

    def __init__(self, shift_m: float, from_s: float) -> None:
        self._policy, self._shift_m, self._from_s = RECIPE.make(), shift_m, from_s
        self.n_obs_steps, self.observation_keys = self._policy.n_obs_steps, self._policy.observation_keys

    def reset(self, seed: int) -> None:
        self._policy.reset(seed)

    def predict(self, window: ObservationWindow) -> ActionChunk:
        chunk = self._policy.predict(window)
        if window.decision_time_s >= self._from_s:
            chunk.parts["pose"][3, 0] += self._shift_m
        return chunk


def record(folder: Path, scenes: int = 2, ticks: int = 8, shift_m: float = 0.0, from_s: float = 0.0) -> RunRecorder:
    """Scenes one after the other; every second tick is only watched. The recording is still open."""
    policy = Shifted(shift_m, from_s)
    recorder = RunRecorder(folder, {"policy": {**RECIPE.__dict__}, "task": "scoop"}, wait=True)
    recorded, caller = RecordedPolicy(policy, recorder), RecordedCaller(SynchronousCaller(policy), recorder)
    names = load_task("scoop").joints.names  # type: ignore[union-attr]
    for scene in range(scenes):
        recorder.begin(START_NS + scene * 100 * 10**9)
        recorded.reset(scene)
        for tick in range(ticks):
            now_s = 0.1 * tick + 0.05
            recorder.joints(now_s, now_s - 0.001, names, np.full(7, 0.1 * tick))
            if tick % 2:
                caller.observe(window(tick))
                continue
            caller.ask(window(tick))
            caller.answer()
            recorder.sent(now_s, JtcMessage(0.1 * tick, names, np.array([0.1, 0.2]), *[np.zeros((2, 7))] * 3))
    return recorder


if __name__ == "__main__":
    record(Path(sys.argv[1]), scenes=1, ticks=60)
    while (Path(sys.argv[1]) / "run.mcap").stat().st_size < SOME_BYTES:
        time.sleep(0.01)  # the recording's own thread writes
    sys.stdout.write("recorded\n")
    sys.stdout.flush()
    sys.stdin.read()
