"""How the policy's node waits: for the next tick, for the policy's answer, and for messages between them."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from ladle_nodes.inbox import Inbox
from ladle_nodes.process import Spinner
from real_world_deployment.process_caller import ProcessCaller

POLL_S = 0.002
# So near to a tick nothing is begun that takes milliseconds: an image that comes now is of the next tick.
NEAR_S = 0.003
TURN_S = 0.01  # how often the executor has its turn, for buttons, the simulated clock and parameters


class Intake:
    """Takes in what has come, in the order of what is urgent: an answer, joints, images, everything else.

    Args:
        is_simulated: the clock is one that the executor has to be told. Nothing may be put off until it is past the
            next tick then: it would stand still.
    """

    def __init__(self, spinner: Spinner, inbox: Inbox, cameras: Sequence[str], caller: ProcessCaller, *,
                 is_simulated: bool) -> None:
        self._is_simulated = is_simulated
        self._spinner, self._inbox, self._cameras, self._caller = spinner, inbox, tuple(cameras), caller
        self._turn_s = -math.inf

    def wait(self, until_due_s: float, start_ns: int) -> None:
        """Return after POLL_S, when the next tick is due, or when the answer to an open question is there.

        Args:
            until_due_s: how long it is to the next tick; not above 0 where none is awaited.
            start_ns: when the run began, on the node's clock.
        """
        due_s = time.monotonic() + until_due_s if until_due_s > 0.0 and not self._is_simulated else math.inf
        if self._caller.is_answered(min(POLL_S, max(until_due_s, 0.0) or POLL_S)):
            return
        self._inbox.take_joints()
        for key in self._cameras:
            if due_s - time.monotonic() > NEAR_S:
                self._inbox.take_images(key)
                self._inbox.hand_over(start_ns)  # the next one begins only if there is time for it after this one
        if due_s - time.monotonic() > NEAR_S and time.monotonic() > self._turn_s:
            self._spinner.everything(0.0)
            self._turn_s = time.monotonic() + TURN_S
        self._inbox.hand_over(start_ns)
