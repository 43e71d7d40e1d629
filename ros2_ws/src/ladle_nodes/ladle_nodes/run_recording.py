"""The policy node's recording: nothing, or a `RunRecorder` with what belongs to it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from ladle.policy import Policy, can_continue
from ladle.task import TaskConfig
from ladle_nodes.policies import PolicyRecipe
from real_world_deployment.array_message import ArrayMessage
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.controllers import JtcMessage
from real_world_deployment.loop import DeploymentLoop
from real_world_deployment.policy_caller import PolicyCaller
from real_world_deployment.run_recorder import (
    STATE,
    RecordedCaller,
    RecordedContinuingPolicy,
    RecordedPolicy,
    RunRecorder,
)


class Recording:
    """Records into a folder; an empty name records nothing."""

    def __init__(self, folder: str, recipe: PolicyRecipe, task: TaskConfig, config: DeploymentConfig, *,
                 wait: bool) -> None:
        assert task.joints is not None
        info = {"policy": json.loads(recipe.to_json()), "task": task.name, "config": asdict(config), "lockstep": wait}
        self._recorder = RunRecorder(Path(folder), info, wait=wait) if folder else None
        self._names = task.joints.names
        self._now_s, self._joints_s = 0.0, -1.0
        self._state = ""

    def of(self, policy: Policy, caller: PolicyCaller) -> tuple[Policy, PolicyCaller]:
        """The policy and its caller, taken down from now on."""
        if self._recorder is None:
            return policy, caller
        recorded = (RecordedContinuingPolicy(policy, self._recorder) if can_continue(policy)
                    else RecordedPolicy(policy, self._recorder))
        return recorded, RecordedCaller(caller, self._recorder)

    def begin(self, start_ns: int) -> None:
        """A run begins at an instant of the ROS clock."""
        self._now_s, self._joints_s, self._state = 0.0, -1.0, ""
        if self._recorder is not None:
            self._recorder.begin(start_ns)

    def sent(self, message: JtcMessage) -> None:
        """A plan has gone out."""
        if self._recorder is not None:
            self._recorder.sent(self._now_s, message)

    def watch(self, loop: DeploymentLoop, now_s: float) -> None:
        """After a tick: the joints that have come, and the loop's state where it has changed."""
        self._now_s = now_s
        if self._recorder is None:
            return
        for header_s, receive_s, q_rad in loop.observations.joints_since(self._joints_s):
            self._recorder.joints(receive_s, header_s, self._names, q_rad)
            self._joints_s = receive_s
        state = f"{loop.state.value}: {loop.detail}"
        if state != self._state:
            self._state = state
            self._recorder.note(now_s, ArrayMessage(STATE, {"state": loop.state.value, "detail": loop.detail,
                                                            "counts": asdict(loop.counts)}))

    def close(self) -> None:
        """Nothing more comes."""
        if self._recorder is not None:
            self._recorder.close(self._now_s)
