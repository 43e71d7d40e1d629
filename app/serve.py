"""`ladle serve`: a policy that answers through topics, on the machine where it is to run."""

from __future__ import annotations

import logging
import os
from typing import NoReturn

from app.up import command
from ladle_bringup.description import BringupSettings, environment, policy_server

log = logging.getLogger("ladle.serve")


def serve(settings: BringupSettings) -> NoReturn:
    """Become the node that serves the settings' policy; its signals and its exit code are those of the command."""
    log.info("ROS_DOMAIN_ID=%s; the run needs the same: ladle up --remote-policy, or launch with policy:=remote",
             os.environ.get("ROS_DOMAIN_ID", "0"))
    line = command(policy_server(settings))
    os.execve(line[0], line, {**os.environ, **environment(settings.robot)})
