"""What this machine leaves a loop that does nothing else: the floor under the figures of `ladle bench loop`.

A thread with the nodes' priorities first only sleeps until the next millisecond. Then, at every tick of the task, it
does 2 ms of compiled work that needs no memory, and makes a plan of a chunk that is there already, by the code of the
nodes. No ROS, no sensors, no policy: where the compiled work takes longer, the machine itself was slower.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

from app.benchmarks.loop_policy import swayed
from ladle.kinematics import KinematicChain
from ladle.policy import ActionChunk
from ladle.robot_description import panda_urdf
from ladle.task import load_task
from ladle_nodes.promptness import LOOP_PRIORITY, STREAM_PRIORITY, become_prompt
from real_world_deployment.arm_motion import ArmMotion
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.controllers import JtcController
from real_world_deployment.safety.task_limits import limits_of
from real_world_deployment.trajectory import CYCLE_S

COMPILED_S = 0.002
N_TARGETS = 15   # as HoldPolicy answers
TURNS = 4        # a tick: the plan, and later the compiled work; at all of them the running plan is sent on
COMPILED_TURN = 2


def measure_floor(task: str, seconds: float) -> dict[str, float]:
    """In a process of its own, twice so long.

    Returns:
        period_p999_ms: between the thread's wakings, 1 ms apart.
        compiled_p50_ms, compiled_p99_ms; plan_p50_ms, plan_p99_ms: from the instant at which either is due until it is
            done.
    """
    done = subprocess.run([sys.executable, "-m", "app.benchmarks.loop_floor", task, str(seconds)],
                          stdout=subprocess.PIPE, text=True, check=True)
    return {name: round(float(value), 3) for name, value in json.loads(done.stdout).items()}


def lateness_s(period_s: float, seconds: float, work: Callable[[int, float], None]) -> list[float]:
    """Of the end of the work, which is done every period with its number and its instant, after it was due."""
    found: list[float] = []
    begun_s = time.monotonic()
    for n in range(round(seconds / period_s)):
        due_s = n * period_s
        time.sleep(max(begun_s + due_s - time.monotonic(), 0.0))
        work(n, due_s)
        found.append(time.monotonic() - begun_s - due_s)
    return found


def compiled_work() -> Callable[[], None]:
    """Rounds of a hash in registers alone, as many as take COMPILED_S at best."""
    def rounds(n: int) -> None:
        hashlib.pbkdf2_hmac("sha256", b"", b"", n)

    def took_s(n: int) -> float:
        begun_s = time.perf_counter()
        rounds(n)
        return time.perf_counter() - begun_s

    tried = 1000
    n = max(round(tried * COMPILED_S / min(took_s(tried) for _ in range(20))), 1)
    return lambda: rounds(n)


class Planner:
    """Makes plans of a swaying chunk, each joined to the one before, as the loop does on an arm."""

    def __init__(self, task_name: str) -> None:
        task, config = load_task(task_name), DeploymentConfig()
        assert task.joints is not None
        assert task.frames is not None
        chain = KinematicChain.from_urdf(panda_urdf(), task.frames.base, task.frames.tip)
        self._motion = ArmMotion(task, chain, limits_of(task, config.limits, chain), config,
                                 JtcController(task.joints.names, lambda _: None))
        self._motion.stand(self._motion.home_rad, -1.0)
        self._home = np.tile(chain.forward(self._motion.home_rad), (N_TARGETS, 1))
        self._ahead_s = task.period_s * np.arange(N_TARGETS, dtype=np.float64)

    def refresh(self, now_s: float) -> None:
        """Send the running plan on."""
        self._motion.refresh(now_s)

    def plan(self, now_s: float) -> None:
        """Follow the chunk of now."""
        times_s = now_s + self._ahead_s
        self._motion.follow(ActionChunk(now_s, times_s, {"pose": swayed(self._home, times_s)}), 1.0, now_s)


def main() -> None:
    """Measure, and print one JSON object."""
    task, seconds = sys.argv[1], float(sys.argv[2])
    planner, compiled = Planner(task), compiled_work()

    def turn(n: int, now_s: float) -> None:
        if n % TURNS == COMPILED_TURN:
            compiled()
            return
        planner.refresh(now_s)
        if n % TURNS == 0:
            planner.plan(now_s)

    become_prompt(STREAM_PRIORITY)
    wakings_s = lateness_s(CYCLE_S, seconds, lambda _n, _now_s: None)
    become_prompt(LOOP_PRIORITY)
    turns_s = lateness_s(load_task(task).period_s / TURNS, seconds, turn)
    found_s = {"period_p999": np.percentile(CYCLE_S + np.diff(wakings_s), 99.9)}
    for name, took_s in (("compiled", turns_s[COMPILED_TURN::TURNS]), ("plan", turns_s[::TURNS])):
        found_s[f"{name}_p50"], found_s[f"{name}_p99"] = np.percentile(took_s, [50, 99])
    sys.stdout.write(json.dumps({f"{name}_ms": 1000.0 * float(value) for name, value in found_s.items()}) + "\n")


if __name__ == "__main__":
    main()
