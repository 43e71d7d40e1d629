"""The override's arithmetic."""

import numpy as np
import pytest

from ladle.errors import DeploymentError
from ladle.policy import ActionChunk
from real_world_deployment.config import DeploymentConfig
from real_world_deployment.safety.speed import check_memory, homing_share, stretched_chunk, stretched_config


def test_targets_move_away_from_the_observation() -> None:
    """At a quarter of the speed 0.1 s becomes 0.4 s; the targets stay; at full speed nothing changes."""
    chunk = ActionChunk(5.0, np.array([5.1, 5.3]), {"joints": np.zeros((2, 7))})
    slow = stretched_chunk(chunk, 0.25)
    np.testing.assert_allclose(slow.times_s, [5.4, 6.2])
    assert slow.parts is chunk.parts
    assert stretched_chunk(chunk, 1.0) is chunk


def test_the_policys_time_is_stretched_and_the_machines_is_not() -> None:
    """Motion held and filter, but neither tail nor staleness."""
    config = DeploymentConfig(speed=0.5)
    slow = stretched_config(config)
    assert slow.held_motion_s == 2 * config.held_motion_s
    assert slow.cutoff_hz == config.cutoff_hz / 2
    assert (slow.tail_s, slow.joints_age_s) == (config.tail_s, config.joints_age_s)


@pytest.mark.parametrize(("speed", "share"), [(1.0, 0.25), (0.5, 0.5), (0.1, 0.95)])
def test_homing_is_never_faster_than_either(speed: float, share: float) -> None:
    """A share of limits that are scaled already."""
    assert homing_share(DeploymentConfig(speed=speed)) == share


def test_a_window_longer_than_the_memory_is_refused() -> None:
    """Four observations a second apart do not fit into three seconds; two do."""
    check_memory(2, 1.0, 3.0)
    with pytest.raises(DeploymentError, match=r"looks back 3\.0 s"):
        check_memory(4, 1.0, 3.0)
