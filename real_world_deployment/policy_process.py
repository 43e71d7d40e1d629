"""The process that a policy runs in: python -m real_world_deployment.policy_process SOCKET FACTORY TEXT.

Started by `ProcessCaller`; questions come through the socket, their frames through shared-memory rings. It
ends when the other end of the socket does, in whatever way.
"""

from __future__ import annotations

import importlib
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import cast

from ladle.errors import LadleError, ObservationError
from ladle.policy import ObservationWindow, Policy
from ladle.script import set_up_logging
from real_world_deployment.array_message import ArrayMessage
from real_world_deployment.frame_ring import RingReader
from real_world_deployment.policy_answers import ASK, CHUNK, RESET, failure, introduction
from real_world_deployment.policy_caller import WatchingPolicy, answer_to
from real_world_deployment.policy_messages import chunk_message, to_running, to_window
from real_world_deployment.urgency import Urgency

MESSAGE_BYTES = 1 << 20


def main() -> None:
    """Make the policy, then answer until nobody asks."""
    descriptor, factory, text = sys.argv[1:]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's to deal with; it hangs up afterwards
    set_up_logging()
    with socket.socket(fileno=int(descriptor)) as link:
        try:
            policy = make(factory, text)
        except Exception as error:
            _say(link, failure(ASK, error, 0))
            if isinstance(error, LadleError):
                return
            raise
        _say(link, introduction(policy))
        readers, urgency = dict[str, RingReader](), Urgency()
        while data := _hear(link):
            answer = reply(policy, ArrayMessage.from_bytes(data), lambda message: _window(message, readers),
                           urgency.set_aside)
            if answer is not None:
                _say(link, answer)


def make(factory: str, text: str) -> Policy:
    """The policy of a factory "package.module:function", which is given the text."""
    module, _, function = factory.partition(":")
    return cast(Policy, getattr(importlib.import_module(module), function)(text))


def reply(policy: Policy, message: ArrayMessage,
          window_of: Callable[[ArrayMessage], ObservationWindow],
          aside: Callable[[], AbstractContextManager[None]] = nullcontext) -> ArrayMessage | None:
    """What is to be said to a message of a run; None for nothing. Whatever the policy raises is said too.

    aside is what the policy itself runs in.
    """
    if message.kind == RESET:
        with aside():
            policy.reset(message.values["seed"])
        return None
    number = message.values["number"]
    try:
        window = window_of(message)
        if message.kind == ASK:
            running = to_running(message)
            begun_s = time.monotonic()
            with aside():
                chunk = answer_to(policy, window, running)
            return chunk_message(CHUNK, chunk, number=number, inference_s=time.monotonic() - begun_s)
        if isinstance(policy, WatchingPolicy):
            with aside():
                policy.observe(window)
    except Exception as error:  # whatever a policy raises is raised where the answer is fetched
        return failure(message.kind, error, number)
    return None


def _window(message: ArrayMessage, readers: dict[str, RingReader]) -> ObservationWindow:
    frames_at = message.values["frames_at"]
    if frames_at is None:
        return to_window(message, {})
    ring, number = frames_at
    if ring not in readers:
        readers[ring] = RingReader(ring)
    record = readers[ring].get(number)
    if record is None:
        raise ObservationError(f"the frames of question {message.values['number']} are overwritten already; the policy "
                               "is slower than its questions come")
    return to_window(message, record.arrays)


def _hear(link: socket.socket) -> bytes:
    """One message; none when the other end is gone."""
    try:
        return link.recv(MESSAGE_BYTES)
    except ConnectionError:
        return b""


def _say(link: socket.socket, message: ArrayMessage) -> None:
    try:
        link.sendall(message.to_bytes())
    except ConnectionError:
        sys.exit(0)


if __name__ == "__main__":
    main()
