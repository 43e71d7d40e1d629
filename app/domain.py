"""A ROS domain that no other run of ours on this machine uses."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from ladle.errors import DeploymentError

# Domains whose ports lie below Linux's ephemeral range; 0 is left to the user's own robot.
FIRST_DOMAIN, LAST_DOMAIN = 1, 101


@contextmanager
def free_domain() -> Generator[int, None, None]:
    """Hold a domain for the length of the block; the lock goes with the process, so nothing stays reserved.

    Raises:
        DeploymentError: all domains are taken.
    """
    folder = Path(tempfile.gettempdir()) / f"ladle-domains-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    for domain in range(FIRST_DOMAIN, LAST_DOMAIN + 1):
        with (folder / str(domain)).open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield domain
            return
    raise DeploymentError(f"all ROS domains from {FIRST_DOMAIN} to {LAST_DOMAIN} are in use by other runs; end one, "
                          "or set ROS_DOMAIN_ID")
