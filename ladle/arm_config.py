"""What the arm is: its frames, its limits, its home; sections of the task file."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator
from pydantic.dataclasses import dataclass

from ladle.config_values import STRICT, NotNegative, Positive


@dataclass(frozen=True, config=STRICT, kw_only=True)
class FramesConfig:
    """Between which links the pose is measured. Without frames an episode holds joints only."""

    base: str
    tip: str
    description_topic: str = "/robot_description"


@dataclass(frozen=True, config=STRICT, kw_only=True)
class PoseConfig:
    """A pose, its quaternion order said by the key; metres. Exactly one of the two quaternions."""

    position_m: tuple[float, float, float]
    quaternion_xyzw: tuple[float, float, float, float] | None = None
    quaternion_wxyz: tuple[float, float, float, float] | None = None

    @model_validator(mode="after")
    def _one_unit_quaternion(self) -> PoseConfig:
        given = [q for q in (self.quaternion_xyzw, self.quaternion_wxyz) if q is not None]
        if len(given) != 1:
            raise ValueError("give exactly one of quaternion_xyzw and quaternion_wxyz")
        norm = sum(component**2 for component in given[0]) ** 0.5
        if abs(norm - 1.0) > 1e-3:
            raise ValueError(f"quaternion {given[0]} has norm {norm:.4f}; it must be 1")
        return self

    @property
    def xyz_xyzw(self) -> tuple[float, ...]:
        """(7,) metres and quaternion xyzw."""
        if self.quaternion_xyzw is not None:
            return (*self.position_m, *self.quaternion_xyzw)
        assert self.quaternion_wxyz is not None
        w, x, y, z = self.quaternion_wxyz
        return (*self.position_m, x, y, z, w)


@dataclass(frozen=True, config=STRICT, kw_only=True)
class LimitsConfig:
    """Joint limits of the robot, (n_joints,) each; the manufacturer's table.

    Attributes:
        arm: "fr3" adds the velocity limits of a Franka Research 3, which fall towards the ends of the joints.
        tip_velocity_m_s: largest speed of the tip; not given, it is not limited.
    """

    position_lower_rad: tuple[float, ...]
    position_upper_rad: tuple[float, ...]
    velocity_rad_s: tuple[Positive, ...]
    acceleration_rad_s2: tuple[Positive, ...]
    jerk_rad_s3: tuple[Positive, ...]
    arm: Literal["panda", "fr3", "other"] = "other"
    tip_velocity_m_s: Positive | None = None

    @model_validator(mode="after")
    def _same_width(self) -> LimitsConfig:
        widths = {len(self.position_lower_rad), len(self.position_upper_rad), len(self.velocity_rad_s),
                  len(self.acceleration_rad_s2), len(self.jerk_rad_s3)}
        if len(widths) != 1:
            raise ValueError(f"all joint limits must have one entry per joint, got widths {sorted(widths)}")
        if any(low >= high for low, high in zip(self.position_lower_rad, self.position_upper_rad, strict=True)):
            raise ValueError("every lower position limit must be below the upper one")
        if self.arm != "other" and widths != {7}:
            raise ValueError(f"arm {self.arm} has 7 joints, the limits are given for {widths.pop()}")
        return self


@dataclass(frozen=True, config=STRICT, kw_only=True)
class HomeConfig:
    """Where a run starts: the tip first rises by lift_m, then goes to the pose along a joint path."""

    pose: PoseConfig
    posture_rad: tuple[float, ...]
    lift_m: NotNegative = 0.0
