"""The policy's node with a policy that takes 0.3 s, and longer while the test wants it to think.

The folder THINKING of the environment has `on` while it is to think on, and `now` once it does.
"""

import os
import time
from pathlib import Path

from ladle.policy import ActionChunk, ObservationWindow
from ladle.task import load_task
from ladle_nodes.managed_node import ManagedNode
from ladle_nodes.policies import HoldPolicy, PolicyRecipe
from ladle_nodes.policy_node import PolicyNode
from ladle_nodes.process import run_node

THINKS_S = 0.3


class SlowPolicy(HoldPolicy):
    """Stays where it is, after long thought."""

    def predict(self, window: ObservationWindow) -> ActionChunk:
        folder = Path(os.environ["THINKING"])
        time.sleep(THINKS_S)
        while (folder / "on").exists():
            (folder / "now").touch()
            time.sleep(0.01)
        return super().predict(window)


class SlowPolicyNode(PolicyNode):
    """As ever, with that policy."""

    policy_factory = "slow_policy_node:from_json"


def from_json(text: str) -> SlowPolicy:
    """What the policy's process calls."""
    return SlowPolicy(("camera_1",), load_task(PolicyRecipe.from_json(text).task).period_s)


def make() -> tuple[ManagedNode, SlowPolicyNode]:
    """Node and body."""
    node = ManagedNode("ladle_policy")
    return node, SlowPolicyNode(node)


if __name__ == "__main__":
    run_node(make)
