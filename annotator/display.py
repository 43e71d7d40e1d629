"""Is there a screen? Asked before the first window, because OpenCV's window toolkit aborts the process without one."""

from __future__ import annotations

import re
import socket
import sys
from collections.abc import Mapping

from ladle.errors import DeploymentError

REMEDY = "run it on the desktop, over `ssh -X`, or under `xvfb-run`"
X11_TCP_BASE_PORT = 6000
TIMEOUT_S = 2.0


def require_display(environment: Mapping[str, str]) -> None:
    """Raise DeploymentError unless the screen that the environment names answers."""
    if sys.platform in ("win32", "darwin") or environment.get("WAYLAND_DISPLAY"):
        return
    display = environment.get("DISPLAY", "")
    if not display:
        raise DeploymentError(f"no screen to label on: DISPLAY is not set; {REMEDY}")
    if not _answers(display):
        raise DeploymentError(f"no screen to label on: nothing answers at DISPLAY={display}; {REMEDY}")


def _answers(display: str) -> bool:
    """Whether an X server listens: host:number[.screen] by TCP, :number by its two local sockets."""
    match = re.fullmatch(r"(?P<host>[^:]*):(?P<number>\d+)(\.\d+)?", display)
    if match is None:
        return False
    host, number = match["host"], int(match["number"])
    if host not in ("", "unix"):
        return _connects(socket.AF_INET, (host, X11_TCP_BASE_PORT + number))
    path = f"/tmp/.X11-unix/X{number}"
    return _connects(socket.AF_UNIX, path) or _connects(socket.AF_UNIX, f"\0{path}")


def _connects(family: int, address: str | tuple[str, int]) -> bool:
    with socket.socket(family, socket.SOCK_STREAM) as connection:
        connection.settimeout(TIMEOUT_S)
        try:
            connection.connect(address)
        except OSError:
            return False
    return True
