"""The faults: how each is done to a run, how it is undone, and what must be said of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace

from app.benchmarks.fault_motion import HELD_S
from app.benchmarks.fault_scene import CONTROLLER, POLICY, RUCKIG, FaultScene, Route, relays
from ladle_nodes.living_arm import RECOVER_SERVICE
from simulation.reflex_model import CONTACT, CONTROLLER_LOST

Act = Callable[[FaultScene], None]

CLOCK_STEP_S = 0.5
LOSS = 0.2
STOP_AGAIN_S = 0.02
# The policy is asked at every fourth tick of 0.1 s.
QUESTION_S = 0.4
# The controller rests then, and all that was sent before is over: what is held back for 0.12 to 0.28 s and delivered
# then meets a controller that brakes, and is a step (docs/safety.md).
OUTAGE_S = 0.3
CAMERA = "relay camera_1"
# What a network carries: all streams but the machine's own clock.
NETWORK = tuple(stream for stream in relays() if stream != "clock")
# Best effort may lose messages; trajectories go over a reliable topic, which sends them again.
LOSSY = ("joints", "camera_0", "camera_1")
# What the node in between has a part in; what the policy's node alone sees is the same on both routes.
ALSO_THROUGH_RUCKIG = ("policy_killed", "deployment_killed", "joints_killed", "controller_killed",
                       "deployment_stall_500ms", "reflex", "guiding", "user_stop", "network_dropped")


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        name: on the command line and in the table.
        what: is done, in words.
        inject, heal: do it and undo it; a process that is gone is started again by `heal`.
        alarms: any of these must be raised; none where nobody of ours is left to raise one, or nothing is wrong.
        needs_detection: whether the arm moves on until it is detected; else the controller ends what it holds anyway,
            or the arm stops itself.
        comes_to_rest: whether the arm must come to rest; None where it may go on.
        unseen_s: how long there is nothing to be seen of it: until the next question, to which no answer comes, or
            until what the controller holds has been carried out.
        clock_step_s: what the fault adds to the run's clock.
        errors: of the arm's own, provoked by the fault.
        route: of the run that it is done to.
    """

    name: str
    what: str
    inject: Act
    heal: Act
    alarms: tuple[str, ...] = ()
    needs_detection: bool = False
    comes_to_rest: bool | None = True
    unseen_s: float = 0.0
    clock_step_s: float = 0.0
    errors: tuple[str, ...] = ()
    route: Route = "jtc"


def faults() -> tuple[Fault, ...]:
    """All of them, in the order in which they are done."""
    straight = _faults()
    through_ruckig = (*(fault for fault in straight if fault.name in ALSO_THROUGH_RUCKIG), *_faults_of_ruckig())
    return (*straight, *(replace(fault, name=f"ruckig_{fault.name}", route="ruckig") for fault in through_ruckig))


def _faults_of_ruckig() -> tuple[Fault, ...]:
    return (
        Fault("node_killed", "kill -9 of the node that makes the trajectories", lambda s: s.kill(RUCKIG),
              lambda s: s.start(RUCKIG), ("trajectories_lost",)),
        Fault("node_stall_500ms", "SIGSTOP of that node for 0.5 s", lambda s: _stall_for(s, 0.5, (RUCKIG,)),
              lambda s: None, ("trajectories_lost",)),
        # The policy's node sees only that the arm stands: what it sends itself does come through.
        Fault("outage", f"trajectories to the controller do not get through for {OUTAGE_S:g} s",
              lambda s: _stall_for(s, OUTAGE_S, ("relay trajectories",)), lambda s: None, ("controller_dead",),
              unseen_s=HELD_S),
    )


def _faults() -> tuple[Fault, ...]:
    return (
        Fault("policy_killed", "kill -9 of the policy's process", lambda s: _signal_policy(s, signal.SIGKILL),
              _new_deployment, ("policy_gone",), needs_detection=True),
        Fault("deployment_killed", "kill -9 of node and policy at once", _kill_deployment, lambda s: s.start(POLICY)),
        _dead_relay("camera_killed", "kill -9 of a camera's driver", CAMERA, ("camera_stale",)),
        _dead_relay("joints_killed", "kill -9 of the joints' driver", "relay joints", ("joints_stale",)),
        Fault("controller_killed", "kill -9 of the trajectory controller", lambda s: s.kill(CONTROLLER),
              _new_controller, ("controller_dead", "arm_reflex", "arm_unknown"), errors=(CONTROLLER_LOST,)),
        _lie("image_frozen", "a camera repeats one picture with fresh stamps", "camera_1 frozen", ("camera_frozen",)),
        _lie("joints_nan", "joint positions are no numbers", "joints nan", ("joints_not_finite",)),
        _stall("camera_stall_500ms", "a camera's driver stalls for 0.5 s", 0.5, (CAMERA,), ("camera_stale",)),
        _stall("camera_stall_2s", "a camera's driver stalls for 2 s", 2.0, (CAMERA,), ("camera_stale",)),
        _policy_stall("policy_stall_500ms", 0.5, None),
        _policy_stall("policy_stall_2s", 2.0, True),
        Fault("deployment_stall_500ms", "SIGSTOP of the policy's node for 0.5 s",
              lambda s: _stall_for(s, 0.5, (POLICY,)), lambda s: None),
        _clock_step("clock_step_forward", CLOCK_STEP_S),
        _clock_step("clock_step_back", -CLOCK_STEP_S),
        Fault("loss_20_percent", f"{LOSS:.0%} of joint states and frames are lost for 3 s",
              lambda s: _lose_messages(s, LOSSY, LOSS, 3.0), _forward_all, comes_to_rest=False),
        Fault("reflex", "the arm stops itself in a reflex", lambda s: s.observer.tell_arm("reflex"), _recover,
              ("arm_reflex",), errors=(CONTACT,)),
        Fault("guiding", "a person takes the arm by hand", lambda s: s.observer.tell_arm("guiding"), _release,
              ("arm_guiding",)),
        Fault("user_stop", "a person presses the arm's stop", lambda s: s.observer.tell_arm("user_stop"), _release,
              ("arm_user_stopped",)),
        Fault("network_dropped", "nothing but the clock gets through for 2 s",
              lambda s: _lose_messages(s, NETWORK, 1.0, 2.0), _forward_all,
              ("joints_stale", "camera_stale", "arm_unknown", "controller_dead", "trajectories_lost")),
        Fault("trajectories_lost", f"trajectories alone do not get through for {OUTAGE_S:g} s",
              lambda s: _stall_for(s, OUTAGE_S, ("relay trajectories",)), lambda s: None, ("trajectories_lost",)),
    )


def _dead_relay(name: str, what: str, relay: str, alarms: tuple[str, ...]) -> Fault:
    def heal(scene: FaultScene) -> None:
        scene.start(relay)
        scene.wait_for_relays()

    return Fault(name, what, lambda s: s.kill(relay), heal, alarms, needs_detection=True)


def _lie(name: str, what: str, command: str, alarms: tuple[str, ...]) -> Fault:
    return Fault(name, what, lambda s: s.observer.tell_relay(command), _forward_all, alarms, needs_detection=True)


def _stall(name: str, what: str, duration_s: float, processes: tuple[str, ...], alarms: tuple[str, ...]) -> Fault:
    return Fault(name, what, lambda s: _stall_for(s, duration_s, processes), lambda s: None, alarms,
                 needs_detection=True)


def _policy_stall(name: str, duration_s: float, comes_to_rest: bool | None) -> Fault:
    def inject(scene: FaultScene) -> None:
        _hold(scene, duration_s, lambda number: _signal_policy(scene, number))

    alarms = ("policy_silent",) if comes_to_rest else ()
    return Fault(name, f"SIGSTOP of the policy's process for {duration_s:g} s", inject, lambda s: None, alarms,
                 needs_detection=True, comes_to_rest=comes_to_rest, unseen_s=QUESTION_S)


def _clock_step(name: str, step_s: float) -> Fault:
    return Fault(name, f"the deployment's clock steps by {step_s:+g} s",
                 lambda s: s.observer.tell_relay(f"clock step {step_s}"), _forward_all, ("clock_jump",),
                 clock_step_s=step_s)


def _signal_policy(scene: FaultScene, number: signal.Signals) -> None:
    for process in scene.policy_processes():
        os.kill(process, number)


def _kill_deployment(scene: FaultScene) -> None:
    policies = scene.policy_processes()
    os.kill(scene.children[POLICY].pid, signal.SIGKILL)
    for process in policies:
        os.kill(process, signal.SIGKILL)
    scene.kill(POLICY)


def _new_deployment(scene: FaultScene) -> None:
    scene.end(POLICY)
    scene.start(POLICY)


def _new_controller(scene: FaultScene) -> None:
    scene.start(CONTROLLER)
    scene.wait_for_controller()
    _recover(scene)


def _stall_for(scene: FaultScene, duration_s: float, processes: tuple[str, ...]) -> None:
    _hold(scene, duration_s, lambda number: scene.signal(number, *processes))


def _hold(scene: FaultScene, duration_s: float, send: Callable[[signal.Signals], None]) -> None:
    """Keep processes stopped, also where somebody else on the machine lets everything go on."""
    end_s = scene.observer.heard.now_s + duration_s
    while (left_s := end_s - scene.observer.heard.now_s) > 0.0:
        send(signal.SIGSTOP)
        scene.wait_simulated(min(left_s, STOP_AGAIN_S))
    send(signal.SIGCONT)


def _lose_messages(scene: FaultScene, streams: tuple[str, ...], share: float, duration_s: float) -> None:
    for stream in streams:
        scene.observer.tell_relay(f"{stream} loss {share}")
    scene.wait_simulated(duration_s)
    _forward_all(scene)


def _forward_all(scene: FaultScene) -> None:
    for stream in relays():
        scene.observer.tell_relay(f"{stream} pass")


def _recover(scene: FaultScene) -> None:
    scene.expect(RECOVER_SERVICE)


def _release(scene: FaultScene) -> None:
    scene.observer.tell_arm("release")
