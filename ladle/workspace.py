"""Where the arm may be; a section of the task file."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from ladle.config_values import STRICT

Triple = tuple[float, float, float]


@dataclass(frozen=True, config=STRICT, kw_only=True)
class BoxConfig:
    """An upright box in the base frame, metres."""

    lower_m: Triple
    upper_m: Triple

    @model_validator(mode="after")
    def _not_empty(self) -> BoxConfig:
        if any(low >= high for low, high in zip(self.lower_m, self.upper_m, strict=True)):
            raise ValueError(f"every lower_m {self.lower_m} of the box must be below its upper_m {self.upper_m}")
        return self


@dataclass(frozen=True, config=STRICT, kw_only=True)
class PlaneConfig:
    """A plane through point_m in the base frame; the arm stays on the side that the normal (of any length) shows."""

    name: str
    point_m: Triple
    normal: Triple

    @model_validator(mode="after")
    def _has_a_normal(self) -> PlaneConfig:
        if sum(component**2 for component in self.normal) < 1e-12:
            raise ValueError(f"plane {self.name}: its normal is {self.normal}; give the direction that is allowed")
        return self


@dataclass(frozen=True, config=STRICT, kw_only=True)
class WorkspacePointConfig:
    """A sphere on the arm that must stay inside: centre at offset_m in the frame of a link, radius as margin."""

    name: str
    link: str
    offset_m: Triple = (0.0, 0.0, 0.0)
    radius_m: Annotated[float, Field(ge=0)] = 0.0


@dataclass(frozen=True, config=STRICT, kw_only=True)
class WorkspaceConfig:
    """Box and planes, and the points of the arm that they hold for; links must lie between the task's frames."""

    points: tuple[WorkspacePointConfig, ...]
    box: BoxConfig | None = None
    planes: tuple[PlaneConfig, ...] = ()

    @model_validator(mode="after")
    def _says_something(self) -> WorkspaceConfig:
        if not self.points or (self.box is None and not self.planes):
            raise ValueError("a workspace needs at least one point, and a box or a plane")
        return self
