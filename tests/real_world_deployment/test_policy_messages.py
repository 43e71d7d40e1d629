"""What travels between processes and into recordings comes back as it was."""

from __future__ import annotations

import math

import numpy as np

from ladle.policy import ActionChunk, MonitorScore
from real_world_deployment.array_message import ArrayMessage
from real_world_deployment.policy_messages import chunk_message, to_chunk


def test_a_chunk_comes_back_with_its_stage_and_its_scores() -> None:
    """Also scores that are no number, and a chunk that has none."""
    scores = {"spread": MonitorScore(0.3, 0.5, 1.0), "distance": MonitorScore(math.nan, 2.0, 3.0)}
    for monitor in (None, scores):
        chunk = ActionChunk(1.5, np.array([1.6, 1.7]), {"pose": np.ones((2, 7))}, stage=1,
                            stage_probabilities=np.array([0.2, 0.8]), monitor=monitor)
        back = to_chunk(ArrayMessage.from_bytes(chunk_message("chunk", chunk).to_bytes()))
        assert back.observation_time_s == chunk.observation_time_s
        assert back.stage == 1
        for one, other in ((back.times_s, chunk.times_s), (back.parts["pose"], chunk.parts["pose"]),
                           (back.stage_probabilities, chunk.stage_probabilities)):
            np.testing.assert_array_equal(one, other)
        assert repr(back.monitor) == repr(monitor)
