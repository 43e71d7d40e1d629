"""The control loop: observe, ask, splice, send. It never waits, and time is an argument.

Deny by default: nothing is sent before `safety.gate.StartGate` has no objection. Whatever fails later, the plan that
the controller already holds ends at rest, and `safety.alarms` has what the loop makes of it.
"""

from __future__ import annotations

from ladle.errors import DeploymentError, MotionError
from ladle.kinematics import KinematicChain
from ladle.policy import ActionChunk, Policy, starts_of
from ladle.task import TaskConfig
from real_world_deployment.approach import Approach
from real_world_deployment.arm_motion import ArmMotion, check_task
from real_world_deployment.chunking import ChunkJoiner
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.controllers import Controller
from real_world_deployment.judgement import Judgement
from real_world_deployment.loop_state import MOVING, POLICY_MOVES, LoopCounts, LoopState, Wish
from real_world_deployment.observation import KEPT_S, ObservationBuffer
from real_world_deployment.out_of_distribution import OutOfDistribution
from real_world_deployment.policy_caller import PolicyCaller, SynchronousCaller
from real_world_deployment.questions import Questions
from real_world_deployment.reactions import Reactions
from real_world_deployment.safety.alarms import Alarm, detection_bound_s
from real_world_deployment.safety.gate import StartGate
from real_world_deployment.safety.hold_to_run import HoldToRun
from real_world_deployment.safety.speed import check_chunking, check_memory
from real_world_deployment.safety.task_limits import limits_of
from real_world_deployment.safety.watchdogs import Watchdogs
from real_world_deployment.trajectory import JointTrajectory


class DeploymentLoop:
    """One run of a policy on an arm: feed `observations`, and call `tick` at every tick of the task or more often.

    Attributes:
        run: the state, why, by which alarm and since when.
        observations: where joints and frames go.
        watchdogs: where the arm's reports go, and what is seen outside.
        questions: when the policy is asked.
        counts: what has happened.
        last_chunk: the chunk that was used last.
    """

    def __init__(self, task: TaskConfig, policy: Policy, controller: Controller, chain: KinematicChain,
                 config: DeploymentConfig, observations: ObservationBuffer | None = None,
                 caller: PolicyCaller | None = None) -> None:
        """Raises DeploymentError for a task that cannot move an arm, KinematicsError for an unreachable home pose."""
        check_task(task, chain)
        self._config, self._period_s = config, task.period_s / config.speed
        check_chunking(config.chunking, config.speed)
        check_memory(policy.n_obs_steps, self._period_s, KEPT_S)
        self.observations = ObservationBuffer(task, chain) if observations is None else observations
        limits = limits_of(task, config.limits, chain, config.speed)
        self._motion = ArmMotion(task, chain, limits, config, controller)
        self.watchdogs = Watchdogs(config, self.observations, controller,
                                   {key: 1.0 / task.cameras[key].rate_hz for key in self.observations.camera_keys})
        gate = StartGate(task, config, chain, limits, self.observations, controller, self.watchdogs, starts_of(policy))
        self._joiner = ChunkJoiner(config.chunking, policy, task, config.latency_s,
                                   config.switch_lead_s + config.tracking_delay_s)
        self.questions = Questions(policy, SynchronousCaller(policy) if caller is None else caller, self.observations,
                                   self._joiner, config, self._period_s)
        self._judgement = Judgement(config.bounds)
        self.run = self.questions.run
        self._now_s = 0.0
        self._reactions = Reactions(self.run, self._motion, self.watchdogs, self.questions, self._judgement,
                                    config, self.observations.newest_joints)
        self._approach = Approach(self.run, self._motion, self.watchdogs, gate, self.questions, self._reactions, config,
                                  self.observations.newest_joints)
        self._clear(Wish.NONE, 0)

    @property
    def state(self) -> LoopState:
        """What the loop does."""
        return self.run.state

    @property
    def detail(self) -> str:
        """Why it does that."""
        return self.run.detail

    @property
    def running(self) -> JointTrajectory | None:
        """The plan in force; None before the first. The controller holds the next part of it and a way to rest."""
        return self._motion.plan

    @property
    def next_tick_s(self) -> float:
        """When the task's next tick is due; in the past while no run is under way."""
        return self.questions.next_tick_s

    @property
    def button(self) -> HoldToRun | None:
        """Where reports of the hold-to-run button go; None in a run without one."""
        return self.watchdogs.button

    @property
    def monitor(self) -> OutOfDistribution:
        """What the policy's scores say; its verdict has the share of the speed that is left."""
        return self._judgement.monitor

    def is_at_rest(self, now_s: float) -> bool:
        """Whether the plan in force has ended."""
        return self._motion.is_at_rest(now_s)

    def bound_s(self, alarm: Alarm) -> float:
        """How long that watchdog takes at most, on the run's clock."""
        return detection_bound_s(alarm, self._config, self._period_s, self.questions.latency_p95_s)

    def start(self, seed: int) -> None:
        """Ask for a run: homing begins at the first tick at which nothing is in the way.

        Raises:
            DeploymentError: a run is under way, a fault is latched, or there is no policy any more.
        """
        self._refuse_unless_over("starting another")
        if (gone := self.questions.gone()) is not None:
            raise DeploymentError(f"not started: {gone}")
        self._clear(Wish.RUN, seed)

    def home(self) -> None:
        """Ask for the way home alone. Raises DeploymentError as `start` does."""
        self._refuse_unless_over("homing")
        self._clear(Wish.HOME, self._approach.seed)

    def stop(self, now_s: float, reason: str, *, is_failure: bool = False) -> None:
        """Come to rest as fast as the limits allow and stay there; a fault stays a fault."""
        self._now_s = now_s
        self._reactions.stop(now_s, reason, is_failure=is_failure)

    def resume(self, now_s: float) -> None:
        """Go on from HOLD without waiting any longer, where its cause is over or is a judgement to be overruled.

        Raises:
            DeploymentError: the arm is not held, or what it is held for is still there.
        """
        self._now_s = now_s
        self._reactions.resume(now_s)

    def clear_fault(self, now_s: float) -> None:
        """Leave FAULT for IDLE; the next run homes from the measured joints.

        Raises:
            DeploymentError: there is no fault, or the arm itself still reports one.
        """
        if self.state is not LoopState.FAULT:
            raise DeploymentError(f"there is no fault to clear, the run is {self.state.value}")
        blocked = self.watchdogs.arm.blocked()
        if blocked is not None:
            raise DeploymentError(f"the fault is not cleared: {blocked.reason}; recover the arm first")
        self.run.clear("the fault is cleared; start again", now_s)

    def forget(self) -> None:
        """Forget plan, clock and the arm's reports, without braking: a new scene has put the arm elsewhere."""
        self._motion.forget()
        self.watchdogs.forget()

    def tick(self, now_s: float) -> LoopState:
        """Do what is due at now_s, and keep the controller supplied: to be called every `refresh_s` or so."""
        self._now_s = now_s
        self.watchdogs.clock.note(now_s)
        if self.state not in {*MOVING, LoopState.HOLD} and self.watchdogs.clock.problem(now_s) is not None:
            self._motion.forget()  # its times are of another clock; what the controller holds ends at rest
        if self.state is not LoopState.RUNNING or not self.questions.is_due(now_s):
            self._motion.refresh(now_s)  # else when the question has been put: the policy need not wait for it
        if self.state is LoopState.IDLE and self.run.wish is not Wish.NONE:
            self._approach.begin(now_s)
        elif self.state in MOVING or self.state is LoopState.HOLD:
            trouble = self._reactions.look(now_s)
            if trouble is not None:
                self._reactions.react(trouble, now_s)
            elif self.state is LoopState.HOLD:
                self._reactions.recover(now_s)
        if self.state is LoopState.HOMING:
            self._approach.watch_homing(now_s)
        if self.state is LoopState.RUNNING:
            self._let_policy_move(now_s)
        self._motion.refresh(now_s)
        return self.state

    def _clear(self, wish: Wish, seed: int) -> None:
        self.run.enter(LoopState.IDLE, "not started", self._now_s)
        self.counts = self._motion.counts = self.questions.counts = LoopCounts()
        self.last_chunk: ActionChunk | None = None
        self._approach.ask(wish, seed)
        self.questions.clear()
        self._judgement.reset()

    def _refuse_unless_over(self, what: str) -> None:
        if self.state is LoopState.FAULT:
            raise DeploymentError(f"a fault is latched ({self.detail}); clear it before {what}")
        is_over = self.state in {LoopState.IDLE, LoopState.STOPPED}
        if not is_over and not self._reactions.waits_for_operator(self._now_s):
            raise DeploymentError(f"a run is {self.state.value}; stop it before {what}")

    def _let_policy_move(self, now_s: float) -> None:
        """Use what it has answered, ask it anew, and see whether it fails."""
        self._use_answer(now_s)
        if self.state is LoopState.RUNNING:
            self.questions.put(now_s, at_rest=self._motion.is_at_rest(now_s))
            self._motion.refresh(now_s)
            self._use_answer(now_s)
        trouble = self.questions.trouble or self.questions.silence(now_s)
        if trouble is not None and self.state is LoopState.RUNNING:
            self._reactions.react(trouble, now_s)

    def _use_answer(self, now_s: float) -> None:
        """Take the answer when it is due, and turn it into motion."""
        answer = self.questions.answer(now_s)
        if answer is None:
            return
        chunk, joined = answer
        trouble = self._judgement.update(chunk)
        if trouble is not None:
            self._reactions.react(trouble, now_s)
            return
        try:
            self._motion.follow(joined, self._caution_speed, now_s)
        except MotionError as error:
            self.counts.refused += 1
            self.run.say(f"chunk refused: {error}")
            return
        self._joiner.keep(chunk)
        self.last_chunk, self.run.detail = joined, POLICY_MOVES

    @property
    def _caution_speed(self) -> float:
        """What the monitor leaves of the speed; averages and continued chunks are of one speed and cannot be slowed."""
        return self.monitor.verdict.speed_factor if self._config.chunking == "replace" else 1.0
