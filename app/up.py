"""`ladle up`: the nodes of ladle_bringup.description as plain processes, where there is no ros2 launch."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from app.domain import free_domain
from app.processes import ChildProcess, interrupted_by_sigterm, remove_orphaned_shared_memory, stop, wait_for_any
from ladle.errors import DeploymentError
from ladle_bringup.description import NodeDescription, describe
from ladle_bringup.environment import environment
from ladle_bringup.settings import BringupSettings, ParameterValue

log = logging.getLogger("ladle.up")

# In lockstep the simulator tells the others to end when its scenes are done; they get this long.
WIND_DOWN_S = 10.0


class Bringup:
    """The processes of one run; leaving the block ends them all.

    Attributes:
        nodes: what was started.
        children: their processes, in the same order.
    """

    def __init__(self, settings: BringupSettings, log_folder: Path | None = None) -> None:
        """Nothing starts before the block is entered. Without a log folder the nodes write to our terminal."""
        self._settings, self._log_folder = settings, log_folder
        self._resources = ExitStack()
        self.nodes: tuple[NodeDescription, ...] = ()
        self.children: list[ChildProcess] = []

    def __enter__(self) -> Bringup:
        self._started_s = time.time()
        self._resources.enter_context(interrupted_by_sigterm())
        folder = Path(self._resources.enter_context(tempfile.TemporaryDirectory(prefix="ladle-up-")))
        settings = self._settings
        if not settings.arm_socket:
            settings = replace(settings, arm_socket=str(folder / "arm.sock"))
        self.nodes = describe(settings)
        variables = {**os.environ, **environment(settings.robot), **self._isolation()}
        try:
            for node in self.nodes:
                self.children.append(ChildProcess(node.name, command(node), variables, self._log_path(node)))
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        # The policy first, so that it brakes; the simulated arm before its JTC, which ends when the arm hangs up.
        gentle = stop(self.children[::-1])
        if not gentle or any(child.exit_code == -signal.SIGKILL for child in self.children):
            remove_orphaned_shared_memory(self._started_s)
        self._resources.close()

    def ended(self, timeout_s: float) -> bool:
        """Whether the run has ended within the time.

        Raises:
            DeploymentError: a node ended with an error; names it with its last words.
        """
        if wait_for_any(self.children, timeout_s) is None:
            return False
        until_s = time.monotonic() + (WIND_DOWN_S if self._settings.lockstep else 0.0)
        while self._failed() is None and self._running() and time.monotonic() < until_s:
            wait_for_any(self._running(), 0.1)
        failed = self._failed()
        if failed is not None:
            words = failed.last_words()
            where = f": {words} (all of it: {failed.log_path})" if words else "; see its output above"
            raise DeploymentError(f"{failed.name} ended with exit code {failed.exit_code}{where}")
        return True

    def _running(self) -> list[ChildProcess]:
        return [child for child in self.children if child.exit_code is None]

    def _failed(self) -> ChildProcess | None:
        return next((child for child in self.children if child.exit_code not in (None, 0)), None)

    def _isolation(self) -> dict[str, str]:
        """A simulated run has its own domain, unless the user has chosen one."""
        if self._settings.robot != "sim" or "ROS_DOMAIN_ID" in os.environ:
            return {}
        domain = str(self._resources.enter_context(free_domain()))
        log.info("ROS_DOMAIN_ID=%s; ladle control needs the same", domain)
        return {"ROS_DOMAIN_ID": domain}

    def _log_path(self, node: NodeDescription) -> Path | None:
        if self._log_folder is None:
            return None
        self._log_folder.mkdir(parents=True, exist_ok=True)
        return self._log_folder / f"{node.name}.log"


def command(node: NodeDescription) -> list[str]:
    """What `ros2 run` would start, through the module."""
    given = [argument for name, value in node.parameters.items()
             for argument in ("-p", f"{name}:={_parameter_text(value)}")]
    return [sys.executable, "-m", node.module, "--ros-args", "-r", f"__node:={node.name}", *given]


def bring_up(*, task: str, checkpoint: Path | None, controller: str, robot: str, **more: ParameterValue) -> None:
    """Start the nodes and stay until the run ends or Ctrl-C; without a checkpoint the policy is served elsewhere.

    Raises:
        DeploymentError: the settings do not fit together, or a node ended with an error.
    """
    policy = ("remote", "") if checkpoint is None else ("checkpoint", str(checkpoint.absolute()))
    run(BringupSettings(task=task, policy=policy[0], checkpoint=policy[1], controller=controller, robot=robot,
                        **more))  # pyright: ignore[reportArgumentType]


def run(settings: BringupSettings) -> None:
    """Start the nodes and stay until the run ends, Ctrl-C or SIGTERM."""
    with Bringup(settings) as bringup:
        for node, child in zip(bringup.nodes, bringup.children, strict=True):
            log.info("%s runs as process %d", node.name, child.pid)
        try:
            while not bringup.ended(timeout_s=1.0):
                pass
        except KeyboardInterrupt:
            log.info("ending")


def _parameter_text(value: ParameterValue) -> str:
    """As YAML, so that the text "12" stays text and true becomes a truth value."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return repr(value)
