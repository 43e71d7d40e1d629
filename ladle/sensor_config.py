"""Where cameras and joints come from; sections of the task file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from ladle.config_values import STRICT, NotNegative, Positive, ShortTime


@dataclass(frozen=True, config=STRICT, kw_only=True)
class CameraConfig:
    """One image stream: where it comes from and what becomes of it.

    Attributes:
        kind: "color" (uint8 RGB) or "depth" (uint16 ticks).
        width_px, height_px: the size kept in the episode and the replay buffer.
        latency_s: how much later than the light the header stamp is taken; subtracted to get the capture time.
        clock_offset_s: added to the header stamps, when their clock is known to be behind by so much.
        transport_s: usual least time from header stamp to receipt; only more than this is held against a recording.
        depth_scale_m: metres per tick; near_m and far_m: the range that the 8-bit view spans. Depth only.
        ticks_key: replay-buffer name of the uint16 ticks. Depth only.
        extract: whether the stream becomes part of episodes; others stay in the bag.
    """

    topic: str
    kind: Literal["color", "depth"]
    width_px: Annotated[int, Field(gt=0)]
    height_px: Annotated[int, Field(gt=0)]
    rate_hz: Positive
    latency_s: ShortTime = 0.0
    clock_offset_s: float = 0.0
    transport_s: ShortTime = 0.0
    frame_id: str = ""
    depth_scale_m: Positive | None = None
    near_m: NotNegative | None = None
    far_m: Positive | None = None
    ticks_key: str | None = None
    extract: bool = True

    @model_validator(mode="after")
    def _depth_is_complete(self) -> CameraConfig:
        depth_fields = (self.depth_scale_m, self.near_m, self.far_m, self.ticks_key)
        if self.kind == "depth" and None in depth_fields:
            raise ValueError("a depth camera needs depth_scale_m, near_m, far_m and ticks_key")
        if self.kind == "color" and any(value is not None for value in depth_fields):
            raise ValueError("depth_scale_m, near_m, far_m and ticks_key belong to depth cameras only")
        if self.near_m is not None and self.far_m is not None and self.near_m >= self.far_m:
            raise ValueError(f"near_m {self.near_m} must be less than far_m {self.far_m}")
        return self


@dataclass(frozen=True, config=STRICT, kw_only=True)
class JointsConfig:
    """The arm's joints, always found by name.

    Attributes:
        sources: topics to read them from; the first one that a bag holds is used.
        live_topic: sensor_msgs/JointState topic on the robot.
        clock_offset_s, transport_s: as for cameras.
        tracking_delay_s: how late the arm follows a command; measured by `ladle measure-delay`.
        order_when_unnamed: take positions that come without any names to be in the order of `names`.
    """

    names: tuple[str, ...]
    sources: tuple[str, ...]
    live_topic: str
    rate_hz: Positive
    latency_s: ShortTime = 0.0
    clock_offset_s: float = 0.0
    transport_s: ShortTime = 0.0
    tracking_delay_s: ShortTime = 0.0
    order_when_unnamed: bool = False

    @model_validator(mode="after")
    def _not_empty(self) -> JointsConfig:
        if not self.names or not self.sources:
            raise ValueError("joints needs names and sources")
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"joint names repeat: {self.names}")
        return self
