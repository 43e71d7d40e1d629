"""`ladle serve`: a policy that answers through topics, on the machine where it is to run."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from typing import NoReturn

from app.up import command
from ladle.policy import Guidance
from ladle_bringup.description import guidance_parameters, policy_server
from ladle_bringup.environment import environment
from ladle_bringup.settings import BringupSettings

log = logging.getLogger("ladle.serve")


def serve(settings: BringupSettings, guidance: Guidance | None) -> NoReturn:
    """Become the node that serves the settings' policy, asked for the guidance's mass; its signals are the node's."""
    variables = {**os.environ, **environment(settings.robot)}
    log.info("ROS_DOMAIN_ID=%s; the run needs the same: ladle up --remote-policy, or launch with policy:=remote",
             variables.get("ROS_DOMAIN_ID", "0"))
    line = command(policy_server(replace(settings, **guidance_parameters(guidance))))
    os.execve(line[0], line, variables)
