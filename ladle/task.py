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
from pydantic import Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from ladle.arm_config import FramesConfig, HomeConfig, LimitsConfig
from ladle.config_values import STRICT, Positive
from ladle.errors import TaskError
from ladle.recording_limits import RecordingLimits
from ladle.sensor_config import CameraConfig, JointsConfig
from ladle.task_errors import in_words
from ladle.workspace import WorkspaceConfig

DepthCodec = Literal["ffvhuff", "ffv1"]


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
