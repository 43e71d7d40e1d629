"""The life of a node's process: one context, one executor, an orderly end."""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Protocol

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor, TimeoutException
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.subscription import Subscription

from ladle.errors import DeploymentError, LadleError
from ladle.script import USER_ERROR_EXIT_CODE, one_line, set_up_logging
from ladle_nodes.promptness import keep_memory

log = logging.getLogger("ladle")

WAIT_STEP_S = 0.1
CALLBACKS_AT_ONCE = 6
# A wait that takes longer than this is told, so that a run that hangs says on what.
REMIND_S = 2.0


class LadleNode(Protocol):
    """A node with a body of its own."""

    def run(self) -> None:
        """Work until the work is done or the process is asked to end."""
        ...

    def close(self) -> None:
        """Release what ROS does not know of: processes, files, sockets."""
        ...


def run_node(make: Callable[[], tuple[Node, LadleNode]]) -> None:
    """A node's main: exit code 0 at its end and on SIGINT or SIGTERM, 2 on a user's error."""
    set_up_logging()
    keep_memory()
    signal.signal(signal.SIGTERM, _interrupt)
    rclpy.init(args=sys.argv, signal_handler_options=SignalHandlerOptions.NO)
    exit_code = 0
    node: Node | None = None
    body: LadleNode | None = None
    try:
        node, body = make()
        body.run()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except LadleError as error:
        log.error("%s", one_line(error))
        exit_code = USER_ERROR_EXIT_CODE
    finally:
        # A second Ctrl-C would cut the clean-up short and leave children behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if body is not None:
            body.close()
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    sys.exit(exit_code)


def parameter(node: Node, name: str) -> bool | int | float | str:
    """A parameter that the description must give; there are no second defaults in the nodes.

    Raises:
        DeploymentError: the parameter was not set.
    """
    if not node.has_parameter(name):
        raise DeploymentError(f"node {node.get_name()} was started without the parameter {name!r}; start it with "
                              f"`ladle up`, ros2 launch ladle_bringup deploy.launch.py, or --ros-args -p {name}:=...")
    value = node.get_parameter(name).value
    assert isinstance(value, bool | int | float | str)
    return value


def text_parameter(node: Node, name: str) -> str:
    """A parameter as text; a folder named 12 is still a name."""
    return str(parameter(node, name))


class Spinner:
    """One SingleThreadedExecutor in the calling thread; waiting is spinning."""

    def __init__(self, node: Node) -> None:
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)

    def once(self, timeout_s: float = WAIT_STEP_S) -> None:
        """Run at most one callback."""
        self._executor.spin_once(timeout_sec=timeout_s)

    def for_a_while(self, seconds: float) -> None:
        """Run callbacks for so long, while messages of ours leave."""
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            self.once(left_s)

    def everything(self, poll_s: float) -> None:
        """Let messages gather for a moment, then run the callbacks that are ready: a few, for at 1 kHz one always is.

        rclpy builds its wait set anew for every callback, which costs more than the callback of a 1 kHz topic; so the
        process sleeps instead, and a callback takes the rest of its queue by `waiting_messages`.
        """
        time.sleep(poll_s)
        with suppress(TimeoutException):
            for _ in range(CALLBACKS_AT_ONCE):
                handler, _, _ = self._executor.wait_for_ready_callbacks(timeout_sec=0)
                handler()
                error = handler.exception()
                if error is not None:
                    raise error

    def until(self, reached: Callable[[], bool], timeout_s: float, waiting_for: Callable[[], str]) -> None:
        """Run callbacks until the condition holds. Raises DeploymentError after the timeout."""
        begun_s = time.monotonic()
        said_s = begun_s + REMIND_S
        while not reached():
            self.once()
            if time.monotonic() > said_s:
                log.info("waiting for %s since %.0f s", waiting_for(), time.monotonic() - begun_s)
                said_s += REMIND_S
            if time.monotonic() > begun_s + timeout_s:
                raise DeploymentError(f"waited {timeout_s:.0f} s for {waiting_for()}; is that process running, "
                                      "with the same ROS_DOMAIN_ID?")

    def close(self) -> None:
        """Stop spinning; the node stays."""
        self._executor.shutdown()


def waiting_messages(subscription: Subscription) -> Iterator[Any]:
    """What is in a subscription's queue already, oldest first, without another turn of the executor for each."""
    while True:
        with subscription.handle:
            taken = subscription.handle.take_message(subscription.msg_type, subscription.raw)
        if taken is None:
            return
        yield taken[0]


@contextmanager
def noted_interrupts() -> Iterator[Callable[[], bool]]:
    """Within the block the first SIGINT or SIGTERM is only noted, so that what is being done is done; yields whether.

    A second one interrupts as ever.
    """
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        if len(noted) > 1:
            _interrupt(number, frame)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(noted)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
