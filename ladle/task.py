"""The task file: the single home of topics, shapes, units, rates, frames, joints, stages and limits.

A task is read from `ladle/config/task/<name>.yaml`, or from a path. Unknown keys are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from ladle.errors import TaskError
from ladle.recording_limits import RecordingLimits
from ladle.task_errors import in_words
from ladle.workspace import WorkspaceConfig

STRICT = ConfigDict(extra="forbid", arbitrary_types_allowed=False)
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
DepthCodec = Literal["ffvhuff", "ffv1"]
ShortTime = Annotated[float, Field(ge=0, le=5.0)]  # seconds; a longer one is milliseconds mistaken for them


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


@dataclass(frozen=True, config=STRICT, kw_only=True)
class StagesConfig:
    """What people label. hysteresis_ticks: how many equal decisions in a row change the stage."""

    names: tuple[str, ...]
    hysteresis_ticks: Annotated[int, Field(ge=1)] = 2


@dataclass(frozen=True, config=STRICT, kw_only=True)
class ActionPartConfig:
    """A named part of the action: what it is, and the replay-buffer columns that it fills.

    Attributes:
        kind: vector says nothing about its numbers: for data of other programs, which do not tell what they are.
        size: columns of a vector. Vectors only.
    """

    name: str
    kind: Literal["pose", "joints", "gripper", "xy", "vector"]
    size: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _size_of_a_vector(self) -> ActionPartConfig:
        if (self.kind == "vector") != (self.size is not None):
            raise ValueError(f"action part {self.name}: size belongs to the kind vector, and only there; the kind is "
                             f"{self.kind}, size {self.size}")
        return self

    def width(self, n_joints: int) -> int:
        """Columns of the `action` array that the part takes."""
        return self.size or {"pose": 7, "joints": n_joints, "gripper": 1, "xy": 2}[self.kind]


@dataclass(frozen=True, config=STRICT, kw_only=True)
class TaskConfig:
    """Everything that the stages must agree on.

    Attributes:
        video_size: whether an episode's videos have the size of the task's cameras or that of the sensor's images.
        depth_codec: how the depth of all source frames is kept without loss: ffvhuff ten times faster, ffv1 a fifth
            smaller.
    """

    name: str
    rate_hz: Positive
    cameras: Mapping[str, CameraConfig] = field(default_factory=dict[str, CameraConfig])
    joints: JointsConfig | None = None
    frames: FramesConfig | None = None
    limits: LimitsConfig | None = None
    workspace: WorkspaceConfig | None = None
    home: HomeConfig | None = None
    stages: StagesConfig | None = None
    action_source: Literal["next_measured", "commanded"] = "next_measured"
    action: tuple[ActionPartConfig, ...] = ()
    mass: bool = False
    recording: RecordingLimits = field(default_factory=RecordingLimits)
    video_size: Literal["task", "source"] = "task"
    depth_codec: DepthCodec = "ffvhuff"

    @model_validator(mode="after")
    def _parts_agree(self) -> TaskConfig:
        if self.frames is not None and self.joints is None:
            raise ValueError("frames needs joints: the pose is computed from them")
        if self.workspace is not None and self.frames is None:
            raise ValueError("workspace needs frames: it is checked by the kinematics between them")
        if self.limits is not None and self.joints is not None:
            width, expected = len(self.limits.velocity_rad_s), len(self.joints.names)
            if width != expected:
                raise ValueError(f"limits are given for {width} joints, but there are {expected} joint names")
        unknown = sorted(set(self.recording.accept) - {"joints", *self.cameras})
        if unknown:
            raise ValueError(f"recording.accept names {', '.join(unknown)}; the streams are: "
                             f"{', '.join(['joints', *self.cameras])}")
        return self

    @property
    def period_s(self) -> float:
        """Time between two ticks."""
        return 1.0 / self.rate_hz

    @property
    def extracted_cameras(self) -> dict[str, CameraConfig]:
        """Cameras that become part of an episode; they fix the observation time."""
        return {key: camera for key, camera in self.cameras.items() if camera.extract}

    @property
    def labelled_camera(self) -> str:
        """The colour camera whose frames people label: the first that is extracted. Raises TaskError without one."""
        colors = [key for key, camera in self.extracted_cameras.items() if camera.kind == "color"]
        if not colors:
            raise TaskError(f"task {self.name} extracts no colour camera, so there are no frames to label")
        return colors[0]

    @property
    def action_width(self) -> int:
        """Columns of the replay buffer's `action`."""
        n_joints = len(self.joints.names) if self.joints else 0
        return sum(part.width(n_joints) for part in self.action)


def task_names() -> list[str]:
    """Names of the tasks that come with Ladle."""
    folder = resources.files("ladle.config.task")
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def load_task(name_or_path: str | Path) -> TaskConfig:
    """Read a task by name or by path.

    Raises:
        TaskError: no such task, or a key or value that does not fit.
    """
    text, origin = _task_text(name_or_path)
    return task_from_text(text, origin)


def task_text(task: TaskConfig) -> str:
    """The task as YAML; `task_from_text` gives back an equal task."""
    plain = TypeAdapter(TaskConfig).dump_python(task, mode="json", exclude_none=True)
    return yaml.safe_dump(plain, sort_keys=False)


def task_from_text(text: str, origin: str = "text") -> TaskConfig:
    """Parse and validate YAML. Raises TaskError naming the key and the origin."""
    try:
        loaded: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise TaskError(f"{origin}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(loaded, dict):
        raise TaskError(f"{origin}: a task file is a mapping of keys, got {type(loaded).__name__}")
    given = cast(dict[str, Any], loaded)
    if given.get("recording", {}) is None:
        del given["recording"]  # a section of which all lines are commented out
    try:
        return TypeAdapter(TaskConfig).validate_python(given)
    except ValidationError as error:
        raise TaskError(f"{origin}: {in_words(error, TaskConfig)}") from error


def _task_text(name_or_path: str | Path) -> tuple[str, str]:
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml"} or path.exists():
        if not path.is_file():
            raise TaskError(f"no task file at {path}; known task names: {', '.join(task_names())}")
        return path.read_text(), str(path)
    if str(name_or_path) not in task_names():
        known = ", ".join(task_names())
        raise TaskError(f"no task named {str(name_or_path)!r}; known: {known}; or give a path to a .yaml")
    return (resources.files("ladle.config.task") / f"{name_or_path}.yaml").read_text(), f"task {name_or_path}"
