"""`ladle measure-delay`: the arm's tracking delay out of a recorded run, and into the task file."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from app.run_reading import Floats, Plan, measured_and_sent
from ladle.atomic import replace_file
from ladle.errors import BagError, TaskError
from ladle.task import task_from_text
from real_world_deployment.tracking_delay import TrackingDelay, tracking_delay

KEY = "tracking_delay_s"
STEP_S = 0.005


def measure_delay(run: Path) -> TrackingDelay:
    """What the arm was commanded is, at every instant, the plan that was sent last.

    Raises:
        BagError: no recording of a run, or one in which nothing was sent.
        MotionError: too little motion, or clocks that do not fit.
    """
    measured_s, measured_rad, plans = measured_and_sent(run)
    if not plans:
        raise BagError(f"{run}: nothing was sent to the arm in this run")
    # Large numbers of seconds leave few digits; the clocks' common origin does not matter.
    origin_s = plans[0].times_s[0]
    commanded_s, commanded_rad = commanded(plans)
    return tracking_delay(commanded_s - origin_s, commanded_rad, measured_s - origin_s, measured_rad)


def commanded(plans: list[Plan]) -> tuple[Floats, Floats]:
    """(n,) times and (n, J) joints: each plan from when it was sent (or begins) to when the next one was."""
    times, joints = list[Floats](), list[Floats]()
    for index, plan in enumerate(plans):
        begin_s = max(plan.sent_s, plan.times_s[0])
        end_s = plans[index + 1].sent_s if index + 1 < len(plans) else plan.times_s[-1]
        grid_s = np.arange(begin_s, end_s, STEP_S)
        times.append(grid_s)
        joints.append(np.column_stack([np.interp(grid_s, plan.times_s, q) for q in plan.q_rad.T]))
    times_s = np.concatenate(times)
    order = np.argsort(times_s, kind="stable")
    return times_s[order], np.concatenate(joints)[order]


def store_delay(task_file: Path, delay_s: float) -> None:
    """Write the delay into the task file's joints section; comments and order stay.

    Raises:
        TaskError: no joints section in block style, or the file would not be a task any more.
    """
    text = task_file.read_text()
    value = f"{delay_s:.4f}"
    changed, count = re.subn(rf"(?m)^(\s+{KEY}:).*$", rf"\g<1> {value}", text)
    if not count:
        changed, count = re.subn(r"(?m)^joints:[ \t]*(#.*)?\n", rf"\g<0>  {KEY}: {value}\n", text, count=1)
    if not count:
        raise TaskError(f"{task_file} has no section 'joints:' on a line of its own; write {KEY}: {value} there")
    task_from_text(changed, str(task_file))
    with replace_file(task_file) as partial:
        partial.write_text(changed)
