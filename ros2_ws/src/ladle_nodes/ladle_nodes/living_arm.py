"""The simulated arm between its controller and the people beside it: reflexes, guiding, the stop button, recovery.

| what happens | the arm | until |
|---|---|---|
| a limit is violated, or `reflex` on /ladle/sim/command | brakes, mode reflex | /ladle/sim/recover |
| the controller dies | brakes by the reflex communication_constraints_violation | /ladle/sim/recover |
| `guiding` or `user_stop` on /ladle/sim/command | brakes, mode guiding or user_stopped | `release` |

A stopped arm follows nothing. Recovered, it stands where it is, and its controller is activated anew from there.
"""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from std_msgs.msg import String
from std_srvs.srv import Trigger

from ladle.errors import SimulationError
from ladle_nodes.qos import reliable
from ladle_nodes.setpoint_sources import SetpointSource
from real_world_deployment.arm_condition import GUIDING, USER_STOPPED
from simulation.reflex_model import CONTROLLER_LOST
from simulation.served import ServedSimulation
from simulation.served_link import ControllerGoneError

log = logging.getLogger("ladle.simulator")

COMMAND_TOPIC, RECOVER_SERVICE = "/ladle/sim/command", "/ladle/sim/recover"
PROVOKED = "cartesian_reflex (provoked)"
TAKEN = {"guiding": GUIDING, "user_stop": USER_STOPPED}


class LivingArm:
    """Gives the arm its set-points, and survives what stops it where the run wants that.

    Attributes:
        is_commanded: whether a controller sends set-points.
    """

    def __init__(self, node: Node, simulation: ServedSimulation, source: SetpointSource, recovers: bool) -> None:
        """The source has been reset. Without `recovers` a reflex ends the scene, and a dead controller the run."""
        self._simulation, self._source, self._recovers = simulation, source, recovers
        self._now_ns = 0
        self._standing_rad = simulation.state.q_rad
        self.is_commanded = True
        if recovers:
            node.create_subscription(String, COMMAND_TOPIC, self._obey, reliable(10))
            node.create_service(Trigger, RECOVER_SERVICE, self._recover)

    @property
    def has_ended(self) -> bool:
        """Whether a reflex has ended the scene."""
        return self._simulation.state.reflex is not None and not self._recovers

    def setpoints(self, now_ns: int, cycles: int) -> NDArray[np.float64]:
        """(cycles, 7) rad for the cycles from now on; a stopped arm will not follow them.

        Raises:
            ControllerGoneError: the controller has died, and the arm does not live on.
        """
        self._now_ns = now_ns
        if not self.is_commanded and self._source.found():
            log.info("a controller has connected")
            self._activate_controller()
        if self.is_commanded:
            try:
                return self._source.setpoints(now_ns, cycles, -1, self._simulation.state)
            except ControllerGoneError as error:
                self._lose_controller(error)
        return np.tile(self._standing_rad, (cycles, 1))

    def _lose_controller(self, error: ControllerGoneError) -> None:
        if not self._recovers:
            raise error
        log.warning("%s", CONTROLLER_LOST)
        self.is_commanded = False
        self._simulation.trip(CONTROLLER_LOST)

    def _activate_controller(self) -> None:
        """Let the controller hold the place where the arm is."""
        try:
            self._source.reset(self._now_ns, -1, self._simulation.state)
            self.is_commanded = True
        except ControllerGoneError as error:
            self._lose_controller(error)

    def _obey(self, message: String) -> None:
        command = message.data
        if command == "reflex":
            self._simulation.trip(PROVOKED)
        elif command in TAKEN:
            self._simulation.take(TAKEN[command])
        elif command == "release" and self._simulation.state.reflex is None:
            self._stand()
        else:
            log.warning("%s: %r is not possible now; it knows reflex, release (not after a reflex), %s", COMMAND_TOPIC,
                        command, ", ".join(TAKEN))
            return
        log.info("%s: %s", COMMAND_TOPIC, command)

    def _recover(self, _request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.message = self._stand()
        response.success = not response.message
        return response

    def _stand(self) -> str:
        """Recover; why it cannot be done now, or nothing."""
        try:
            self._simulation.recover()
        except SimulationError as error:
            log.warning("%s", error)
            return str(error)
        self._standing_rad = self._simulation.state.q_rad
        if self.is_commanded:
            self._activate_controller()
        return ""
