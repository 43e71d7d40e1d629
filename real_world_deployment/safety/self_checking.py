"""Controllers that know whether they may be used."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class SelfChecking(Protocol):
    """A controller that knows whether it may be used."""

    def problem(self) -> str | None:
        """Why plans must not be sent to it (unknown, inactive, unsuitable, gone); None if they may."""
        ...
