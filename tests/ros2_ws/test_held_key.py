"""`ladle control --hold-topic` on a terminal of its own, and somebody who listens to the button."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from app.domain import free_domain
from ladle_bringup.environment import environment

READER = Path(__file__).with_name("button_reader.py")
TOPIC = "/hold"
PATIENCE_S = 60.0  # far more than anything takes; what is asked for is that it comes


class Desk:
    """A keyboard, and what the listener has said."""

    def __init__(self, keyboard: IO[bytes], said: IO[bytes], control: subprocess.Popen[bytes]) -> None:
        self._keyboard, self._said, self.control = keyboard, said, control

    def press(self, key: bytes) -> None:
        self._keyboard.write(key)

    def said_until_it_left(self) -> str:
        """What it has shown by its end."""
        assert self.control.wait(PATIENCE_S) == 0
        assert self.control.stdout is not None
        return self.control.stdout.read().decode()

    def unplug(self) -> None:
        """The terminal ends."""
        self._keyboard.close()

    def hold(self, key: bytes, up_to_s: float) -> str:
        """As a keyboard that repeats it 30 times a second, until the button changes; to what, or empty."""
        until_s = time.monotonic() + up_to_s
        while time.monotonic() < until_s:
            self.press(key)
            if change := self.hears(1 / 30):
                return change
        return ""

    def hears(self, within_s: float) -> str:
        """The button's next change; empty if there is none within so long."""
        ready, _, _ = select.select([self._said], [], [], within_s)
        return self._said.readline().decode().strip() if ready else ""


@contextmanager
def desk() -> Iterator[Desk]:
    """The keyboard's process tells that nothing is held."""
    master, terminal = pty.openpty()
    keyboard = os.fdopen(master, "wb", buffering=0)
    with free_domain() as domain:
        variables = {**os.environ, **environment("sim"), "ROS_DOMAIN_ID": str(domain)}
        listener = subprocess.Popen([sys.executable, str(READER), TOPIC], env=variables, stdout=subprocess.PIPE,
                                    bufsize=0)
        control = subprocess.Popen([sys.executable, "-m", "app.cli", "control", "--hold-topic", TOPIC], env=variables,
                                   stdin=terminal, stdout=subprocess.PIPE)
        os.close(terminal)
        try:
            assert listener.stdout is not None
            found = Desk(keyboard, listener.stdout, control)
            assert found.hears(PATIENCE_S) == "0"
            yield found
        finally:
            for process in (control, listener):
                process.kill()
                process.wait()
            keyboard.close()


@pytest.mark.slow
def test_the_arm_may_move_while_the_space_bar_is_held_and_not_for_a_stroke() -> None:
    """Two strokes or another key hold nothing; a held one does until it is let go; q leaves."""
    with desk() as people:
        people.press(b" ")
        time.sleep(0.05)
        people.press(b" ")
        assert people.hold(b"x", 0.5) == ""
        assert people.hold(b" ", PATIENCE_S) == "1"
        assert people.hears(PATIENCE_S) == "0"
        people.press(b"q")
        people.said_until_it_left()


@pytest.mark.slow
def test_a_terminal_that_ends_takes_the_keyboard_with_it() -> None:
    """No process goes on that nobody can speak to."""
    with desk() as people:
        people.unplug()
        people.said_until_it_left()


@pytest.mark.slow
def test_a_stop_counts_even_if_one_leaves_at_once_and_arrows_are_no_commands() -> None:
    """The arrow to the right ends with a c, Home with an h, End with an f."""
    with desk() as people:
        people.press(b"\x1b[C\x1b[H\x1bOF")
        people.press(b"sq")
        said = people.said_until_it_left()
    assert "nobody answers /ladle/stop" in said
    assert said.count("nobody answers") == 1


@pytest.mark.slow
def test_strokes_that_queued_up_while_nobody_looked_hold_nothing() -> None:
    """Let go before the service that was asked for has failed to answer."""
    with desk() as people:
        people.press(b"s")
        assert people.hold(b" ", 3.0) == ""
        assert people.hears(6.0) == ""
