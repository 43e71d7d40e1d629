"""How the policy's node waits: for the next tick, for the policy's answer, and for messages between them."""

from __future__ import annotations

import time

from ladle_nodes.inbox import Inbox
from ladle_nodes.process import Spinner
from real_world_deployment.process_caller import ProcessCaller

POLL_S = 0.002
# So near to a tick nothing is begun that takes milliseconds: an image that comes now is of the next tick.
NEAR_S = 0.003


class Intake:
    """Takes in what has come, in the order of what is urgent: an answer, joints, images, everything else."""

    def __init__(self, spinner: Spinner, inbox: Inbox, caller: ProcessCaller) -> None:
        self._spinner, self._inbox, self._caller = spinner, inbox, caller

    def wait(self, until_due_s: float, start_ns: int) -> None:
        """Return after POLL_S, when the next tick is due, or when the answer to an open question is there.

        Args:
            until_due_s: how long it is to the next tick; less than 0 where there is none.
            start_ns: when the run began, on the node's clock.
        """
        begun_s = time.monotonic()
        pause_s = min(POLL_S, until_due_s) if until_due_s > 0.0 else POLL_S
        if self._caller.is_answered(pause_s):
            return
        self._inbox.take_joints()
        left_s = until_due_s - (time.monotonic() - begun_s)
        if abs(left_s) > NEAR_S or until_due_s <= 0.0:
            self._inbox.take_images()
            self._spinner.once(0.0)
        self._inbox.hand_over(start_ns)
