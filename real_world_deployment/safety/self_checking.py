"""Controllers that know whether they may be used, and whether plans arrive there."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from real_world_deployment.safety.alarms import Trouble


@runtime_checkable
class SelfChecking(Protocol):
    """A controller that knows whether it may be used."""

    def problem(self) -> Trouble | None:
        """Why plans must not be sent to it (unknown, inactive, unsuitable, gone, not ours alone); None if they may."""
        ...


@runtime_checkable
class Acknowledging(Protocol):
    """A controller of whom it is known whether plans arrive there. While they do not, it passes none on."""

    def unheard(self, now_s: float) -> str | None:
        """Why it must be taken for one that has left its plan; None while plans arrive."""
        ...

    def begin_anew(self) -> None:
        """The arm stands, and what comes next begins from there."""
        ...
