"""The control loop: observe, ask, splice, send. It never waits, and time is an argument.

Deny by default: nothing is sent before `safety.gate.StartGate` has no objection. Whatever fails later, the plan that
the controller already holds ends at rest.
"""

from __future__ import annotations

import logging
import math

import numpy as np
from numpy.typing import NDArray

from ladle.errors import DeploymentError, LadleError, MotionError, ObservationError, PolicyGoneError
from ladle.kinematics import KinematicChain
from ladle.policy import ActionChunk, ObservationWindow, Policy, starts_of
from ladle.task import TaskConfig
from real_world_deployment.chunking import ChunkJoiner
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.controllers import Controller
from real_world_deployment.homing import Homing
from real_world_deployment.loop_state import LoopCounts, LoopState
from real_world_deployment.observation import KEPT_S, ObservationBuffer
from real_world_deployment.out_of_distribution import Caution, OutOfDistribution
from real_world_deployment.policy_caller import PolicyCaller, SynchronousCaller
from real_world_deployment.receding import RecedingPlan
from real_world_deployment.safety.clock_watch import ClockWatch
from real_world_deployment.safety.gate import StartGate
from real_world_deployment.safety.hold_to_run import HoldToRun
from real_world_deployment.safety.speed import (
    check_chunking,
    check_memory,
    homing_share,
    stretched_chunk,
    stretched_config,
)
from real_world_deployment.safety.task_limits import limits_of
from real_world_deployment.splice import Splice, Splicer
from real_world_deployment.trajectory import JointTrajectory, at_rest

log = logging.getLogger(__name__)

MOVING = "the policy moves the arm"
MAX_HOMINGS = 3  # of one run, where refreshes come too late again and again
EARLY_S = 1e-6  # a tick this much before its time counts as on time


class DeploymentLoop:
    """One run of a policy on an arm.

    Call `tick` at every tick of the task or more often; feed `observations` before.

    Attributes:
        state, detail: what the loop does, and why (what it waits for, or what was refused last).
        observations: where joints and frames go.
        counts: what has happened.
        last_chunk: the chunk that was used last.
        running: the plan in force; None before the first. The controller holds the next part of it and a way to rest.
        button: where reports of the hold-to-run button go; None in a run without one.
        monitor: what the policy's scores say; its verdict has the share of the speed that is left.
    """

    def __init__(self, task: TaskConfig, policy: Policy, controller: Controller, chain: KinematicChain,
                 config: DeploymentConfig, observations: ObservationBuffer | None = None,
                 caller: PolicyCaller | None = None) -> None:
        """Raises DeploymentError for a task that cannot move an arm, KinematicsError for an unreachable home pose."""
        followed = [part for part in task.action if part.kind in {"pose", "joints"}]
        if task.joints is None or task.limits is None or task.home is None or len(followed) != 1:
            raise DeploymentError(f"task {task.name} cannot move an arm: its file needs joints, limits, home and one "
                                  "action part of kind pose or joints")
        self._check_joints(task.name, task.joints.names, chain)
        self._policy, self._config = policy, config
        self._period_s = task.period_s / config.speed
        check_chunking(config)
        check_memory(policy.n_obs_steps, self._period_s, KEPT_S)
        self._caller = SynchronousCaller(policy) if caller is None else caller
        self.observations = ObservationBuffer(task, chain) if observations is None else observations
        limits = limits_of(task, config.limits, chain, config.speed)
        self._receding = RecedingPlan(limits, config, controller.follow)
        self._homing = Homing(chain, task.home, limits, homing_share(config))
        self._splicer = Splicer(chain, limits, stretched_config(config), followed[0].name, followed[0].kind,
                                self._homing.home_rad, self._period_s)
        self.button = None if config.hold_to_run_s is None else HoldToRun(config.hold_to_run_s)
        self._gate = StartGate(task, config, chain, limits, self.observations, controller, starts_of(policy))
        self._joiner = ChunkJoiner(config.chunking, policy, task, config.latency_s,
                                   config.switch_lead_s + config.tracking_delay_s)
        self.monitor = OutOfDistribution()
        self._clear(0)

    @property
    def running(self) -> JointTrajectory | None:
        """The plan in force."""
        return self._receding.plan

    @property
    def next_tick_s(self) -> float:
        """When the task's next tick is due; in the past while no run is under way."""
        return self._next_tick_s

    def start(self, seed: int) -> None:
        """Ask for a run: homing begins at the first tick at which joints and cameras are fresh.

        Raises:
            DeploymentError: a run is under way.
        """
        if self.state in {LoopState.HOMING, LoopState.RUNNING}:
            raise DeploymentError(f"a run is {self.state.value}; stop it before starting another")
        self._clear(seed)
        self._is_wanted = True

    def stop(self, now_s: float, reason: str) -> None:
        """Come to rest as fast as the limits allow and stay there."""
        if self.state in {LoopState.HOMING, LoopState.RUNNING}:
            self._rest(now_s)
        self._enter(LoopState.STOPPED, reason)

    def forget(self) -> None:
        """Forget the plan in force, without braking: a new scene has put the arm elsewhere."""
        self._receding.clear()

    def _rest(self, now_s: float) -> None:
        """Brake, or let the plan in force end at rest where no shorter way is safe."""
        running = self._receding.refresh(now_s) or self.running
        if running is None:
            return
        try:
            self._send(self._splicer.stop(running, now_s), now_s)
        except MotionError as error:
            log.warning("no shorter stop than the plan's own tail: %s", error)

    def is_at_rest(self, now_s: float) -> bool:
        """Whether the plan in force has ended."""
        return self.running is None or now_s >= self.running.end_s

    def tick(self, now_s: float) -> LoopState:
        """Do what is due at now_s, and keep the controller supplied: to be called every `refresh_s` or so."""
        self._gate.clock.note(now_s)
        self._receding.refresh(now_s)
        if self._is_held_back(now_s):
            return self.state
        if self.state is LoopState.IDLE and self._is_wanted:
            self._begin(now_s)
        elif self.state is LoopState.HOMING:
            self._watch_homing(now_s)
        if self.state is LoopState.RUNNING:
            self._watch_arm(now_s)
            self._use_answer(now_s)
            if self.state is LoopState.RUNNING and now_s >= self._next_tick_s - EARLY_S:
                self._decide(now_s)
                self._use_answer(now_s)
        return self.state

    def _clear(self, seed: int) -> None:
        self.state, self.detail = LoopState.IDLE, "not started"
        self.counts = LoopCounts()
        self.last_chunk: ActionChunk | None = None
        self._receding.clear()
        self._seed, self._is_wanted = seed, False
        self._next_tick_s, self._ticks_to_question = 0.0, 0
        self._asked_s: float | None = None
        self._failures_in_a_row = self._homings = 0
        self._is_resting, self._resumed_s = False, -math.inf
        self._gate.clock = ClockWatch()
        self._joiner.reset()
        self.monitor.reset()

    def _is_held_back(self, now_s: float) -> bool:
        """Come to rest when the button is let go, and go on when it is pressed again; homing is planned anew."""
        if self.button is None or self.button.is_held(now_s) or self.state is LoopState.STOPPED or not self._is_wanted:
            if self._is_resting:
                self._is_resting, self._resumed_s, self._next_tick_s = False, now_s, now_s
            return False
        if not self._is_resting and self.running is not None and not self.is_at_rest(now_s):
            self._rest(now_s)
        if self.state is LoopState.HOMING:
            self._homings = 0
            self._enter(LoopState.IDLE, "homing was interrupted")
        self._is_resting = True
        self._say("waiting: hold the button to let the arm move")
        return True

    def _begin(self, now_s: float) -> None:
        denials = self._gate.denials(now_s)
        q_rad = self.observations.newest_joints()
        if denials or q_rad is None or not self.is_at_rest(now_s):
            self.detail = "waiting: " + ("; ".join(map(str, denials)) or "the arm is not at rest yet")
            return
        start_s = now_s + self._config.lead_in_s
        self._receding.stand(at_rest(q_rad, start_s))
        if not self._config.home or self._distance_from_home(q_rad) <= self._config.home_tolerance_rad:
            self._run(now_s)
            return
        try:
            plan = self._homing.plan(q_rad, start_s)
        except LadleError as error:
            self._enter(LoopState.STOPPED, f"cannot go home: {error}")
            return
        self._send(Splice(plan, plan.start_s, 0, slowed=False, unreachable=0), now_s)
        self._homings += 1
        self._enter(LoopState.HOMING, "going to the task's home pose")

    def _watch_homing(self, now_s: float) -> None:
        assert self.running is not None
        if now_s < self.running.end_s:
            return
        q_rad = self.observations.newest_joints()
        distance_rad = float("inf") if q_rad is None else self._distance_from_home(q_rad)
        if self._stale(now_s) is None and distance_rad <= self._config.home_tolerance_rad:
            self._run(now_s)
        elif self._receding.is_interrupted and self._homings < MAX_HOMINGS:
            self._begin(now_s)
        elif now_s > self.running.end_s + self._config.home_timeout_s:
            self._enter(LoopState.STOPPED, f"the arm is {distance_rad:.3f} rad from home after the homing motion; at "
                                           f"most {self._config.home_tolerance_rad} rad are allowed: is the controller "
                                           "active?")

    def _run(self, now_s: float) -> None:
        self._policy.reset(self._seed)
        self._next_tick_s = now_s
        self._enter(LoopState.RUNNING, MOVING)

    def _decide(self, now_s: float) -> None:
        """One tick of the task: ask when it is time to, else let the policy watch."""
        self._next_tick_s += self._period_s
        if self._next_tick_s <= now_s - EARLY_S:
            self._next_tick_s = now_s + self._period_s  # ticks were missed: go on from here
        is_due = self._ticks_to_question <= 0 and self._asked_s is None
        self._ticks_to_question -= 1
        window = self._window(now_s)
        if window is None:
            return
        if not is_due:
            self._watch(window, now_s)
            return
        self._caller.ask(window, self._joiner.running(now_s))
        self._asked_s = now_s
        self._ticks_to_question = self._config.replan_ticks - 1
        self.counts.decisions += 1

    def _watch_arm(self, now_s: float) -> None:
        error_rad = self._following_error_rad(now_s)
        if error_rad > self._config.following_error_rad:
            self._enter(LoopState.STOPPED, f"the arm is {error_rad:.3f} rad from its plan; has the controller stopped?")

    def _watch(self, window: ObservationWindow, now_s: float) -> None:
        """Show a tick; a question that is open stays open whatever the policy raises."""
        try:
            self._caller.observe(window)
        except Exception as error:
            self._count_failure(error, now_s)

    def _following_error_rad(self, now_s: float) -> float:
        """The largest distance of a measured joint from the plan in force; 0 while the joints are not fresh."""
        q_rad = self.observations.newest_joints()
        stale = self.observations.stale(now_s, self._config.joints_stale_s, math.inf)
        if q_rad is None or self.running is None or stale is not None:
            return 0.0
        return float(np.max(np.abs(q_rad - self.running.sample(now_s).q_rad[0])))

    def _window(self, now_s: float) -> ObservationWindow | None:
        stale = self._stale(now_s)
        try:
            if stale is not None:
                raise ObservationError(stale)
            ticks = [now_s - age * self._period_s for age in reversed(range(self._policy.n_obs_steps))]
            return self.observations.window(ticks, self._policy.observation_keys)
        except ObservationError as error:
            self.counts.skipped += 1
            self._say(f"the policy is not asked: {error}")
            return None

    def _use_answer(self, now_s: float) -> None:
        """Take the answer when it is due, and turn it into motion."""
        if self.state is not LoopState.RUNNING or self._asked_s is None:
            return
        if now_s < self._asked_s + self._config.latency_s - EARLY_S:
            return
        try:
            chunk = self._caller.answer()
        except Exception as error:
            # A policy may fail in any way; the plan in force ends at rest.
            self._asked_s = None
            self._count_failure(error, now_s)
            return
        if chunk is None:
            return
        joined = self._joiner.joined(chunk, now_s - self._asked_s)
        self._asked_s, self._failures_in_a_row = None, 0
        assert self.running is not None
        if chunk.observation_time_s < self._resumed_s:
            return  # of before the pause: the arm has come to rest since
        if self._must_hold(chunk, now_s):
            return
        try:
            splice = self._splicer.join(stretched_chunk(joined, self._config.speed), self.running, now_s)
            self._send(splice, now_s)
        except MotionError as error:
            self.counts.refused += 1
            self._say(f"chunk refused: {error}")
            return
        self._joiner.keep(chunk)
        self.last_chunk, self.detail = joined, MOVING

    def _must_hold(self, chunk: ActionChunk, now_s: float) -> bool:
        """Whether what was seen is so unlike the demonstrations that the arm had better rest; then it comes to rest."""
        held = self.monitor.verdict.caution is Caution.HOLD
        verdict = self.monitor.update(chunk.monitor)
        if verdict.caution is not Caution.HOLD:
            return False
        if not held:
            self._rest(now_s)
            self._joiner.reset()
        self._say(f"held: {verdict.reason}")
        return True

    def _count_failure(self, error: Exception, now_s: float) -> None:
        self.counts.policy_errors += 1
        self._failures_in_a_row += 1
        log.error("the policy failed: %s", error, exc_info=None if isinstance(error, LadleError) else error)
        if isinstance(error, PolicyGoneError):
            self.stop(now_s, f"the policy is gone: {error}")
        elif self._failures_in_a_row >= self._config.max_policy_failures:
            self.stop(now_s, f"the policy failed {self._failures_in_a_row} times in a row: {error}")

    def _send(self, splice: Splice, now_s: float) -> None:
        self._receding.follow(splice, now_s)
        self.counts.sent += 1
        self.counts.slowed += int(splice.slowed)

    def _stale(self, now_s: float) -> str | None:
        return self.observations.stale(now_s, self._config.joints_stale_s, self._config.camera_stale_s)

    def _distance_from_home(self, q_rad: NDArray[np.float64]) -> float:
        return float(np.max(np.abs(q_rad - self._homing.home_rad)))

    def _enter(self, state: LoopState, detail: str) -> None:
        log.info("%s -> %s: %s", self.state.value, state.value, detail)
        self.state, self.detail = state, detail

    def _say(self, detail: str) -> None:
        """Keep and log a reason once."""
        if detail != self.detail:
            log.warning("%s", detail)
        self.detail = detail

    @staticmethod
    def _check_joints(task_name: str, names: tuple[str, ...], chain: KinematicChain) -> None:
        if chain.joint_names != names:
            raise DeploymentError(f"task {task_name} names the joints {', '.join(names)}, the robot description has "
                                  f"{', '.join(chain.joint_names)} between its frames; make the task fit the robot")
