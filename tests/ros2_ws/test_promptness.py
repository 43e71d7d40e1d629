"""A process that must be on time: what it may do, and what it leaves alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import cast

import pytest

pytest.importorskip("rclpy")

from ladle_nodes.inbox import Inbox
from ladle_nodes.intake import NEAR_S, Intake
from ladle_nodes.process import Spinner, noted_interrupts
from real_world_deployment.process_caller import ProcessCaller

PROMPT = """
import os, subprocess, sys, threading
from ladle_nodes.promptness import become_prompt
end = threading.Event()
thread = threading.Thread(target=end.wait)
thread.start()
allowed = become_prompt(3)
policies = {os.sched_getscheduler(int(tid)) & ~os.SCHED_RESET_ON_FORK for tid in os.listdir("/proc/self/task")}
ask = [sys.executable, "-c", "import os; print(os.sched_getscheduler(0))"]
child = subprocess.run(ask, capture_output=True, text=True)
end.set()
assert policies == ({os.SCHED_FIFO} if allowed else {os.SCHED_OTHER}), policies
assert int(child.stdout) == os.SCHED_OTHER, child.stdout
"""


@pytest.mark.skipif(sys.platform != "linux", reason="scheduling policies are Linux's")
def test_all_threads_become_prompt_and_no_child_does() -> None:
    """Where the system allows it, and where it does not nothing fails."""
    subprocess.run([sys.executable, "-c", PROMPT], check=True, timeout=60)


def test_an_interrupt_waits_for_the_end_of_a_cycle() -> None:
    """Both signals are noted and raise nothing; afterwards they do what they did before."""
    before = signal.getsignal(signal.SIGINT)
    for number in (signal.SIGINT, signal.SIGTERM):
        with noted_interrupts() as interrupted:
            assert not interrupted()
            os.kill(os.getpid(), number)
            assert interrupted()
    assert signal.getsignal(signal.SIGINT) is before


class Notes:
    """Inbox, spinner and policy in one, which only note what is asked of them."""

    def __init__(self, is_answered: bool) -> None:
        self.asked: list[str] = []
        self._is_answered = is_answered

    def is_answered(self, timeout_s: float) -> bool:
        """Without waiting."""
        return self._is_answered

    def take_joints(self) -> None:
        """Noted."""
        self.asked.append("joints")

    def take_images(self, key: str) -> None:
        """Noted."""
        self.asked.append(key)

    def everything(self, poll_s: float) -> None:
        """Noted."""
        self.asked.append("everything")

    def hand_over(self, start_ns: int) -> None:
        """Noted."""
        self.asked.append("hand over")


@pytest.mark.parametrize(("until_due_s", "is_answered", "is_simulated", "asked"), [
    (10.0, False, False, ["joints", "camera", "hand over", "everything", "hand over"]),
    (-1.0, False, False, ["joints", "camera", "hand over", "everything", "hand over"]),
    (NEAR_S / 2, False, False, ["joints", "hand over"]),
    (NEAR_S / 2, False, True, ["joints", "camera", "hand over", "everything", "hand over"]),
    (10.0, True, False, []),
])
def test_what_is_urgent_comes_first(until_due_s: float, is_answered: bool, is_simulated: bool,
                                    asked: list[str]) -> None:
    """An answer before all else; near a tick nothing that takes milliseconds, far from it or without one everything.

    An image is dealt with before the next one is taken, for which there may be no time then.
    A simulated clock is read by the executor: put off until the tick is past, it would stand still for ever.
    """
    notes = Notes(is_answered)
    intake = Intake(cast(Spinner, notes), cast(Inbox, notes), ("camera",), cast(ProcessCaller, notes),
                    is_simulated=is_simulated)
    intake.wait(until_due_s, 0)
    assert notes.asked == asked
