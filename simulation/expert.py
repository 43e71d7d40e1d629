"""A scripted demonstrator: over the bowl, in, through the puree, straight up, level and still.

It knows the scene's truth and plans the cup's path; overlapping minimum-jerk moves leave no pause between the
phases, where a policy that sees two frames would not know which way to go on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation

from simulation import geometry as g
from simulation.arm_ik import HAND_DOWN, ArmIk, start_pose
from simulation.reflex_model import CYCLE_S
from simulation.scene import build_model
from simulation.scene_sampling import SceneConfig

FloatArray = NDArray[np.float64]

DURATION_S = 10.5
LIFTED_CUP_Z_M = g.BOWL_RIM_Z_M + 0.15
ABOVE_RIM_M = 0.045
DIP_M = (0.010, 0.022)
# Tilt of the hand backwards; the cup's nose points down by 10 degrees more.
ENTRY_TILT_RAD, SWEEP_TILT_RAD, LEVEL_TILT_RAD = (float(a) for a in np.deg2rad([6.0, -6.0, -10.0]))
_KNOT_S = 0.05


@dataclass(frozen=True)
class _Move:
    """A minimum-jerk change: of the cup's position by (3,), and of the hand's tilt."""

    start_s: float
    end_s: float
    by_m: FloatArray
    tilt_rad: float

    def progress(self, times_s: FloatArray) -> FloatArray:
        s = np.clip((times_s - self.start_s) / (self.end_s - self.start_s), 0.0, 1.0)
        return s**3 * (10.0 - 15.0 * s + 6.0 * s**2)


@dataclass(frozen=True)
class Dip:
    """How the cup goes through the puree: how deep its centre is under the surface, and how far it sweeps there."""

    depth_m: float
    sweep_m: float

    @classmethod
    def full(cls, scene: SceneConfig) -> Dip:
        """The dip that fills the cup; deeper where there is more puree."""
        share = (scene.fill - 0.3) / 0.7
        return cls(DIP_M[0] + share * (DIP_M[1] - DIP_M[0]), scene.sweep_m)


def plan(scene: SceneConfig, offset_m: FloatArray | None = None, dip: Dip | None = None) -> FloatArray:
    """Joint set-points (n, 7), one per millisecond, of a whole demonstration from the scene's start pose.

    Args:
        offset_m: (3,) shifts everything after the start, to see how much error the scene forgives.
        dip: through the puree; None fills the cup.

    Raises:
        SimulationError: a way point is out of reach.
    """
    times_s = np.arange(0.0, DURATION_S + _KNOT_S / 2, _KNOT_S)
    shift_m, through = np.zeros(3) if offset_m is None else offset_m, dip or Dip.full(scene)
    positions_m, rotations = _hand_path(scene, shift_m, through, times_s)
    ik = ArmIk(build_model(scene))
    joints = np.empty((len(times_s), 7))
    seed = g.home_posture_rad()
    for i, position_m in enumerate(positions_m):
        seed = joints[i] = ik.solve(position_m, rotations[i], seed)
    spline = CubicSpline(times_s, joints, bc_type="clamped")
    n_cycles = round(DURATION_S / CYCLE_S)
    return spline(np.arange(1, n_cycles + 1) * CYCLE_S)


def cup_path(scene: SceneConfig, dip: Dip, times_s: FloatArray) -> FloatArray:
    """(n, 3) the planned centre of the cup at times (n,), in the base frame."""
    return _cups(scene, _moves(scene, np.zeros(3), dip), times_s)


def _cups(scene: SceneConfig, moves: list[_Move], times_s: FloatArray) -> FloatArray:
    return _start_cup_m(scene) + sum(move.progress(times_s)[:, None] * move.by_m for move in moves)


def _start_cup_m(scene: SceneConfig) -> FloatArray:
    start_m, start_rotation = start_pose(scene)
    return start_m + start_rotation.apply(g.CUP_CENTRE_M)


def _hand_path(scene: SceneConfig, offset_m: FloatArray, dip: Dip,
               times_s: FloatArray) -> tuple[FloatArray, Rotation]:
    moves = _moves(scene, offset_m, dip)
    progress = [move.progress(times_s) for move in moves]
    cups_m = _cups(scene, moves, times_s)
    tilts_rad = sum(p * move.tilt_rad for p, move in zip(progress, moves, strict=True))
    # What the start pose is turned away from "hand down" fades during the first move.
    turned = Rotation.from_rotvec((1.0 - progress[0])[:, None] * np.asarray(scene.start_rotation_rad))
    tilted = Rotation.from_rotvec(np.asarray(tilts_rad)[:, None] * np.array([0.0, 1.0, 0.0]))
    rotations = turned * tilted * HAND_DOWN
    return cups_m - rotations.apply(g.CUP_CENTRE_M), rotations


def _moves(scene: SceneConfig, offset_m: FloatArray, dip: Dip) -> list[_Move]:
    dip_z_m = g.puree_level_m(scene.fill) - dip.depth_m
    bowl = np.array([*scene.bowl_xy_m, 0.0]) + offset_m
    ahead, up = np.array([dip.sweep_m / 2, 0.0, 0.0]), np.array([0.0, 0.0, 1.0])
    entry, leave = bowl - ahead, bowl + ahead
    points = [_start_cup_m(scene), entry + (g.BOWL_RIM_Z_M + ABOVE_RIM_M) * up, entry + dip_z_m * up,
              leave + dip_z_m * up, leave + LIFTED_CUP_Z_M * up]
    tilts = [0.0, ENTRY_TILT_RAD, ENTRY_TILT_RAD, SWEEP_TILT_RAD, LEVEL_TILT_RAD]
    spans_s = [(0.2, 3.2), (2.7, 5.1), (4.7, 6.6), (6.2, 8.9)]
    return [_Move(*span, points[i + 1] - points[i], tilts[i + 1] - tilts[i]) for i, span in enumerate(spans_s)]
