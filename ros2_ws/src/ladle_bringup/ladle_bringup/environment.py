"""The environment of a run's nodes: which machine and domain they keep to, and how images travel."""

from __future__ import annotations

import os
from importlib import resources
from pathlib import Path

# Of simulated runs, where neither the user nor `ladle up` has chosen one: the last below Linux's ephemeral ports.
SIMULATION_DOMAIN = "101"


def environment(robot: str) -> dict[str, str]:
    """Variables that every node gets on top of what is there already; a user's own profile wins.

    A simulated run keeps to this machine, and to a domain where no robot is unless the user has chosen one: its
    set-points must never reach a real arm (`ladle_nodes/no_real_arm.py` refuses one that is there all the same).
    The nodes' matrices are small: a second thread of numpy's BLAS would gain nothing, and the loop would wait for it
    wherever something of higher priority has its core. The policy's own library is not touched.
    """
    profile = os.environ.get("FASTDDS_DEFAULT_PROFILES_FILE") or str(fastdds_profile())
    variables = {"FASTDDS_DEFAULT_PROFILES_FILE": profile,
                 "OPENBLAS_NUM_THREADS": os.environ.get("OPENBLAS_NUM_THREADS", "1")}
    if robot == "sim":
        variables["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
        variables["ROS_DOMAIN_ID"] = os.environ.get("ROS_DOMAIN_ID", SIMULATION_DOMAIN)
        if os.environ.get("ROS_DISTRO") == "humble":  # which knows only the older variable
            variables["ROS_LOCALHOST_ONLY"] = "1"
    return variables


def fastdds_profile() -> Path:
    """The transport profile that carries images without loss."""
    return Path(str(resources.files("ladle_bringup") / "fastdds.xml"))
