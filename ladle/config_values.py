"""How strictly configurations are read, and the ranges of their numbers."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

STRICT = ConfigDict(extra="forbid")
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
ShortTime = Annotated[float, Field(ge=0, le=5.0)]  # seconds; a longer one is milliseconds mistaken for them
