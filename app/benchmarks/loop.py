"""What the deployment's loop costs without inference: from an observation to the command that answers it.

Real processes over ROS 2 with the transports of `ladle up`: one that publishes two 640x480 cameras at 30 Hz and joints
at 1 kHz and has a reader for the set-points, the policy's node with a policy that sways about its first pose (in a
process of its own, as on a robot; it answers at once), asked at every tick of the task, and the Ruckig node that
streams set-points at 1 kHz.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from app.benchmarks.loop_floor import measure_floor
from app.benchmarks.loop_nodes import STEPS
from app.domain import free_domain
from app.processes import ChildProcess, remove_orphaned_shared_memory, stop
from app.up import command
from ladle.errors import DeploymentError
from ladle.task import load_task
from ladle_bringup.description import NodeDescription, describe
from ladle_bringup.environment import environment
from ladle_bringup.settings import BringupSettings
from real_world_deployment.trajectory import CYCLE_S

TASK = "scoop"
WARM_UP_S = 12.0  # start of the processes, discovery, the questions before the run
MARGIN_S = 1.0  # at both ends of what the reader of joint states has seen
OUTLIER_S = 0.005
LEAST_SHARE = 0.9  # of the commands and set-points that were due: a run that was held is no measurement


def measure_loop(seconds: float) -> dict[str, Any]:
    """Run for so long, and measure over that time; before that, twice as long, what the machine leaves.

    Returns:
        obs_to_command_p50_ms, _p99_ms: from the instant at which a tick is due, with all that has come by then, until
            the command that answers it is published; through the policy's process and back, less the time that the
            policy itself took. steps_p50_ms, _p99_ms: on what it goes, see `loop_nodes.STEPS`.
        ruckig_period_p999_ms, ruckig_outliers: between set-points; how many periods were longer than 5 ms.
        lost_joint_states: stamped between the first and the last that the loop took in, and not taken in.
        cpu_share: processor time of the deployment's processes as a share of one core.
        floor: the same machine's figures without all of that, see `loop_floor.measure_floor`.
        commands, setpoints, joint_states: how many were counted. unanswered: questions without a command, of all.

    Raises:
        DeploymentError: a process failed, or nothing was measured.
    """
    floor = measure_floor(TASK, seconds)
    begun_s = time.time()
    settings = BringupSettings(task=TASK, policy="hold", robot="franka", controller="ruckig", driver_limits=True,
                               home=False, speed=1.0, arm_condition="none", frozen_camera_check="off",
                               autostart="true")
    nodes = describe(settings)
    with tempfile.TemporaryDirectory(prefix="ladle-loop-") as scratch, free_domain() as domain:
        folder = Path(scratch)
        variables = {**os.environ, **environment("sim"), "ROS_DOMAIN_ID": str(domain)}
        sensors = subprocess.Popen(
            [sys.executable, "-m", "app.benchmarks.loop_sensors", TASK, str(seconds + WARM_UP_S + MARGIN_S)],
            env=variables, stdout=subprocess.PIPE, text=True)
        children = [ChildProcess(node.name, timed(node, folder), variables, folder / f"{node.name}.log")
                    for node in nodes]
        try:
            time.sleep(seconds + WARM_UP_S)
            failed = next((child for child in children if child.exit_code is not None), None)
            if failed is not None:
                raise DeploymentError(f"{failed.name} ended with exit code {failed.exit_code}: {failed.last_words()}")
            for child in children[::-1]:
                child.send(signal.SIGINT)
            sensors.communicate(timeout=60)
        finally:
            sensors.kill()
            stop(children[::-1])
            remove_orphaned_shared_memory(begun_s)
        found = {node.executable: json.loads((folder / f"{node.executable}.json").read_text()) for node in nodes}
    return {**summary(found["policy_node"], found["ruckig_node"], seconds), "floor": floor}


def timed(node: NodeDescription, folder: Path) -> list[str]:
    """The node's command, with the stop-watch."""
    plain = command(node)
    return [plain[0], "-m", "app.benchmarks.loop_nodes", node.executable, str(folder / f"{node.executable}.json"),
            *plain[3:]]


def summary(policy: dict[str, Any], ruckig: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The figures of the last `seconds` of what both nodes have noted."""
    due = round(seconds * load_task(TASK).rate_hz)
    steps_s = np.array(policy["steps_s"][-due:]).reshape(-1, len(STEPS))
    latencies_s = steps_s.sum(axis=1)
    published_s = np.array(ruckig["published_s"])
    published_s = published_s[published_s > published_s[-1] - seconds] if len(published_s) else published_s
    if len(latencies_s) < LEAST_SHARE * due or len(published_s) < LEAST_SHARE * seconds / CYCLE_S:
        raise DeploymentError(f"no run of {seconds:g} s was measured, only {len(latencies_s)} commands and "
                              f"{len(published_s)} set-points; the loop was {policy['state']}: {policy['detail']}; is "
                              "the machine overloaded?")
    periods_s = np.diff(published_s)
    stamps_ms = np.unique(np.round(np.array(policy["stamps_s"]) * 1000.0).astype(np.int64))
    stamps_ms = stamps_ms[stamps_ms > stamps_ms[-1] - round(seconds * 1000)]
    return {
        "obs_to_command_p99_ms": _ms(np.percentile(latencies_s, 99)),
        "ruckig_period_p999_ms": _ms(np.percentile(periods_s, 99.9)),
        "lost_joint_states": int(stamps_ms[-1] - stamps_ms[0] + 1 - len(stamps_ms)),
        "cpu_share": round(policy["cpu_share"] + ruckig["cpu_share"], 3),
        "obs_to_command_p50_ms": _ms(np.percentile(latencies_s, 50)),
        "ruckig_period_p50_ms": _ms(np.percentile(periods_s, 50)),
        "ruckig_outliers": int(np.sum(periods_s > OUTLIER_S)),
        **{f"steps_p{percent}_ms": {step: _ms(value) for step, value in
                                    zip(STEPS, np.percentile(steps_s, percent, axis=0), strict=True)}
           for percent in (50, 99)},
        "commands": len(latencies_s), "unanswered": policy["decisions"] - len(policy["steps_s"]),
        "setpoints": len(published_s), "joint_states": len(stamps_ms),
    }


def _ms(seconds: float) -> float:
    return round(1000.0 * float(seconds), 3)
