"""Actions relative to where the robot was when it looked, and back. Positions and rotations stay proper."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ladle.errors import ConfigError
from ladle.task import TaskConfig
from training.features import ActionCodec
from training.model_schema import ActionSection, ObservationSection

_Change = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class _Part:
    columns: slice
    to: str
    pose: bool


class RelativeActions:
    """Which columns of an action sequence (B, T, Da) are relative to which low-dimensional input (B, To, D).

    A pose becomes the pose in the frame of the newest observed pose: a rotation of the whole scene about any axis
    leaves it as it is. Any other part becomes the difference to the newest observed value.
    """

    def __init__(self, config: ActionSection, observations: ObservationSection, task: TaskConfig) -> None:
        """Raises ConfigError where a part is not of the task, or not of the kind of what it is to be relative to."""
        codec = ActionCodec(task)
        inputs = {spec.key: spec for spec in observations.low_dim}
        kinds = {part.name: part.kind for part in task.action}
        parts: list[_Part] = []
        for item in config.relative:
            if item.part not in kinds:
                raise ConfigError(f"action.relative names {item.part!r}, but task {task.name} has the action parts "
                                  f"{', '.join(kinds)}")
            columns, spec, kind = codec.columns[item.part], inputs[item.to], kinds[item.part]
            width, pose = columns.stop - columns.start, kind == "pose"
            if pose != (spec.kind == "pose") or width != spec.width:
                raise ConfigError(f"action part {item.part!r} ({kind}, {width} wide) cannot be relative to {item.to!r} "
                                  f"({spec.kind}, {spec.width} wide); name an input of its kind and width")
            parts.append(_Part(columns, item.to, pose))
        self._parts = tuple(parts)

    def __bool__(self) -> bool:
        return bool(self._parts)

    def relative(self, actions: Tensor, low_dim: dict[str, Tensor]) -> Tensor:
        """(B, T, Da) in the data's units -> (B, T, Da)."""
        return self._changed(actions, low_dim, _pose_in, torch.sub)

    def absolute(self, actions: Tensor, low_dim: dict[str, Tensor]) -> Tensor:
        """The inverse of `relative`."""
        return self._changed(actions, low_dim, _pose_out_of, torch.add)

    def _changed(self, actions: Tensor, low_dim: dict[str, Tensor], pose: _Change, difference: _Change) -> Tensor:
        if not self._parts:
            return actions
        actions = actions.clone()
        for part in self._parts:
            newest = low_dim[part.to][:, -1:].to(actions)
            change = pose if part.pose else difference
            actions[..., part.columns] = change(actions[..., part.columns], newest)
        return actions


def _pose_in(pose: Tensor, frame: Tensor) -> Tensor:
    """Pose (B, T, 9) in the frame of a pose (B, 1, 9)."""
    turn = _matrix(frame[..., 3:]).transpose(-1, -2)
    return _turned(torch.cat([pose[..., :3] - frame[..., :3], pose[..., 3:]], dim=-1), turn)


def _pose_out_of(pose: Tensor, frame: Tensor) -> Tensor:
    """The inverse of `_pose_in`."""
    turned = _turned(pose, _matrix(frame[..., 3:]))
    return torch.cat([turned[..., :3] + frame[..., :3], turned[..., 3:]], dim=-1)


def _turned(pose: Tensor, matrix: Tensor) -> Tensor:
    """Position and both columns of a pose (..., 9), each turned by (..., 3, 3)."""
    vectors = pose.unflatten(-1, (3, 3))  # (..., vector, component)
    return (vectors @ matrix.transpose(-1, -2)).flatten(-2)


def _matrix(columns: Tensor) -> Tensor:
    """Rotation (..., 3, 3) of its first two columns (..., 6), which are orthonormal."""
    x, y = columns[..., :3], columns[..., 3:]
    return torch.stack([x, y, torch.linalg.cross(x, y)], dim=-1)
