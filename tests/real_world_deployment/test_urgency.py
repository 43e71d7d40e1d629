"""A policy's process is prompt while it hears and answers, and one of many while it thinks."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import os, threading
from real_world_deployment.urgency import Urgency

def policy():
    return os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK

urgency = Urgency()
prompt = os.SCHED_FIFO if urgency.is_allowed else os.SCHED_OTHER
assert policy() == prompt
try:
    with urgency.set_aside():
        assert policy() == os.SCHED_OTHER
        raise ValueError
except ValueError:
    pass
assert policy() == prompt
started = []
thread = threading.Thread(target=lambda: started.append(policy()))
thread.start()
thread.join()
assert started == [os.SCHED_OTHER]
"""


@pytest.mark.skipif(sys.platform != "linux", reason="scheduling policies are Linux's")
def test_only_the_moments_in_which_somebody_waits_are_in_real_time() -> None:
    """Also after a policy that fails, and never for a thread that is started; where it is not allowed nothing fails."""
    subprocess.run([sys.executable, "-c", SCRIPT], check=True, timeout=60)
