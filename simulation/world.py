"""One scene in motion: the arm's physics in 1 ms cycles, its reflexes, the puree and the judge of success."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ladle.errors import SimulationError
from simulation import geometry as g
from simulation.arm import SimulatedArm
from simulation.arm_ik import ArmIk, start_pose
from simulation.judge import Judge
from simulation.puree import Puree
from simulation.reflex_model import CYCLE_S
from simulation.scene import build_model
from simulation.scene_sampling import SceneConfig

FloatArray = NDArray[np.float64]

PUREE_PERIOD_CYCLES = 5
LIFTED_OVER_RIM_M = 0.05
AT_REST_RAD_S = 0.001
STILL_M_S, HOLD_S = 0.03, 0.5


@dataclass(frozen=True)
class RenderState:
    """What a renderer needs to draw an instant; small and picklable.

    Attributes:
        q_rad: (7,) joints; puree_m: (n, n) surface heights; mass_g: load on the spoon; time_s: of the world.
    """

    time_s: float
    q_rad: FloatArray
    puree_m: NDArray[np.float32]
    mass_g: float


class ScoopWorld:
    """A scene with the arm at its start pose; time passes only in `step`."""

    def __init__(self, scene: SceneConfig, judge: Judge | None = None) -> None:
        """Without a judge of one's own, 2 g are a success."""
        self.scene = scene
        self._judge = judge or Judge()
        self._model = build_model(scene)
        self._start_rad = ArmIk(self._model).solve(*start_pose(scene), g.home_posture_rad())
        self.reset()

    def reset(self) -> None:
        """Back to the scene's start pose, at rest, with the bowl untouched."""
        self._arm = SimulatedArm(self._model, self._start_rad)
        self._puree = Puree(self.scene.bowl_xy_m, self.scene.fill)
        self._cycles, self._still_cycles = 0, 0
        self._held = False
        self._taken_by: str | None = None
        self._last_cup_m = self.cup_m

    def step(self, setpoints_rad: FloatArray) -> None:
        """Follow joint set-points (n, 7), one each millisecond; a stopped arm brakes and stays.

        Raises:
            SimulationError: a wrong shape.
        """
        setpoints = np.asarray(setpoints_rad, dtype=np.float64)
        if setpoints.ndim != 2 or setpoints.shape[1] != 7:
            raise SimulationError(f"set-points must have the shape (cycles, 7), got {setpoints.shape}")
        reflex = self._arm.reflex
        accepted, why = (len(setpoints), None) if self.is_stopped else reflex.check(setpoints)
        for cycle, setpoint in enumerate(setpoints):
            if cycle == accepted and why is not None:
                reflex.stop(why)
            if not self.is_stopped:
                self._arm.follow(setpoint)
            else:
                self._arm.brake()
            self._arm.advance()
            self._cycles += 1
            if self._cycles % PUREE_PERIOD_CYCLES == 0:
                self._advance_puree()

    def trip(self, reason: str) -> None:
        """A reflex for a reason that this world cannot see, such as a lost controller."""
        self._arm.reflex.stop(reason)

    def take(self, mode: str) -> None:
        """A person takes the arm, by hand or by its stop button: it brakes and follows no set-points."""
        self._taken_by = mode

    def recover(self) -> None:
        """After a reflex, or when the person lets go: stand where the arm is, ready for set-points from there.

        Raises:
            SimulationError: the arm still moves.
        """
        fastest_rad_s = float(np.abs(self.dq_rad_s).max())
        if fastest_rad_s > AT_REST_RAD_S:
            raise SimulationError(f"the arm still moves at {fastest_rad_s:.4f} rad/s; recover it when it is at rest")
        self._taken_by = None
        self._arm.recover()

    @property
    def is_stopped(self) -> bool:
        """Whether the arm brakes or stands by itself, whatever it is sent."""
        return self._arm.reflex.reason is not None or self._taken_by is not None

    @property
    def taken_by(self) -> str | None:
        """How a person has taken the arm; None while nobody has."""
        return self._taken_by

    @property
    def time_s(self) -> float:
        """Time since `reset`."""
        return self._cycles * CYCLE_S

    @property
    def q_rad(self) -> FloatArray:
        """(7,) measured joint positions."""
        return self._arm.data.qpos.copy()

    @property
    def setpoint_rad(self) -> FloatArray:
        """(7,) what the servo is at; of its own making while the arm is stopped."""
        return self._arm.setpoint_rad

    @property
    def dq_rad_s(self) -> FloatArray:
        """(7,) measured joint velocities."""
        return self._arm.data.qvel.copy()

    @property
    def tau_nm(self) -> FloatArray:
        """(7,) joint torques of the servo, gravity included."""
        return self._arm.torque_nm.copy()

    @property
    def tip_pose(self) -> FloatArray:
        """(7,) panda_hand in panda_link0: metres, quaternion xyzw."""
        data, hand = self._arm.data, self._arm.hand
        w, x, y, z = data.xquat[hand]
        return np.array([*data.xpos[hand], x, y, z, w])

    @property
    def cup_m(self) -> FloatArray:
        """(3,) centre of the spoon's cup in panda_link0."""
        return self._arm.data.xpos[self._arm.hand] + self._hand_matrix() @ g.CUP_CENTRE_M

    @property
    def mass_g(self) -> float:
        """Load on the spoon."""
        return self._puree.mass_g

    @property
    def stage(self) -> int:
        """0 before, 1 in the puree, 2 lifted with a load."""
        return self._puree.stage

    @property
    def reflex(self) -> str | None:
        """Why the arm stopped itself, latched until `reset` or `recover`; None while it runs."""
        return self._arm.reflex.reason

    @property
    def delivered(self) -> bool:
        """The least load was held still, clear over the rim, for half a second, is still there, and no reflex."""
        return self._held and self.reflex is None and self.mass_g >= self._judge.least_g

    @property
    def succeeded(self) -> bool:
        """What was delivered pleases the judge."""
        return self.delivered and self._judge.pleased(self.mass_g)

    def render_state(self) -> RenderState:
        """The present instant for a renderer."""
        return RenderState(self.time_s, self.q_rad, self._puree.heights_m.astype(np.float32), self.mass_g)

    def _hand_matrix(self) -> FloatArray:
        return self._arm.data.xmat[self._arm.hand].reshape(3, 3)

    def _advance_puree(self) -> None:
        period_s = PUREE_PERIOD_CYCLES * CYCLE_S
        cup_m, rotation = self.cup_m, self._hand_matrix()
        self._puree.step(cup_m, rotation @ g.CUP_AXIS, rotation @ g.CUP_NORMAL, period_s)
        speed_m_s = float(np.linalg.norm(cup_m - self._last_cup_m)) / period_s
        self._last_cup_m = cup_m
        holding = (self.mass_g >= self._judge.least_g and speed_m_s < STILL_M_S
                   and cup_m[2] > g.BOWL_RIM_Z_M + LIFTED_OVER_RIM_M)
        self._still_cycles = self._still_cycles + PUREE_PERIOD_CYCLES if holding else 0
        self._held = self._held or self._still_cycles * CYCLE_S >= HOLD_S
