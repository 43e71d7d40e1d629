"""A ROS 2 lifecycle node whose transitions are the methods of a body."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from ladle.errors import LadleError

log = logging.getLogger("ladle.lifecycle")


class Managed(Protocol):
    """What is configured, may move, and comes to rest."""

    def configure(self) -> None:
        """Make everything ready that moves nothing. Raises LadleError: it cannot be made ready."""
        ...

    def activate(self) -> None:
        """From now on the arm may move."""
        ...

    def deactivate(self) -> None:
        """Bring the arm to rest."""
        ...

    def clean_up(self) -> None:
        """Bring the arm to rest and undo `configure`; may be called where nothing is to be undone."""
        ...


class ManagedNode(LifecycleNode):
    """Hands each transition to its body; one that fails leaves the node where it was."""

    def __init__(self, name: str) -> None:
        super().__init__(name, automatically_declare_parameters_from_overrides=True)
        self._body: Managed | None = None
        self._failure: Exception | None = None

    def manage(self, body: Managed) -> None:
        """Whose methods the transitions are."""
        self._body = body

    def start_up(self) -> None:
        """Configure and activate. Raises what the body raised."""
        for trigger in (self.trigger_configure, self.trigger_activate):
            self._failure = None
            if trigger() is not TransitionCallbackReturn.SUCCESS and self._failure is not None:
                raise self._failure

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """unconfigured -> inactive."""
        return self._carry_out(lambda body: body.configure())

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """inactive -> active."""
        return self._carry_out(lambda body: body.activate())

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """active -> inactive."""
        return self._carry_out(lambda body: body.deactivate())

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """inactive -> unconfigured."""
        return self._carry_out(lambda body: body.clean_up())

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """A transition raised a bug: to unconfigured."""
        return self._carry_out(lambda body: body.clean_up())

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Anywhere -> finalized."""
        return self._carry_out(lambda body: body.clean_up())

    def _carry_out(self, transition: Callable[[Managed], None]) -> TransitionCallbackReturn:
        assert self._body is not None, "manage() first"
        try:
            transition(self._body)
        except LadleError as error:
            self._failure = error
            log.error("%s", error)
            return TransitionCallbackReturn.FAILURE
        except Exception as error:  # rclpy would swallow it
            self._failure = error
            log.exception("a transition failed")
            return TransitionCallbackReturn.ERROR
        return TransitionCallbackReturn.SUCCESS
