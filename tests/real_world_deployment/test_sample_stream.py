"""A stream of samples keeps what plain lists would keep."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ladle.sensor_config import JointsConfig
from ladle.task import load_task
from real_world_deployment.sample_stream import KEPT_S, SampleStream


def _config() -> JointsConfig:
    joints = load_task("scoop").joints
    assert joints is not None
    return joints


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 5000), period_s=st.floats(2e-4, 0.05))
def test_a_stream_is_the_end_of_the_list_of_what_was_taken(seed: int, count: int, period_s: float) -> None:
    """Whatever was moved or dropped: the newest KEPT_S, in order, each with its own value; overtaken ones left out."""
    rng = np.random.default_rng(seed)
    stream = SampleStream(_config(), 2)
    taken: list[tuple[float, float]] = []
    for step in range(count):
        receive_s = step * period_s
        header_s = receive_s - rng.uniform(0.0, 3.0 * period_s)
        stream.add("joints", header_s, receive_s, np.array([step, header_s]))
        if not taken or header_s > taken[-1][0]:
            taken.append((header_s, receive_s))
    kept = taken[len(taken) - len(stream):]
    assert list(zip(stream.header_s.tolist(), stream.receive_s.tolist(), strict=True)) == kept
    assert stream.rows[:, 1].tolist() == [header_s for header_s, _ in kept]
    assert all(dropped_s < kept[-1][1] - KEPT_S for _, dropped_s in taken[:len(taken) - len(stream)])
    assert stream.forgot == (len(kept) < len(taken))
