"""The dead man's button by itself; what a run does with it is in test_deployment_loop.py."""

from real_world_deployment.safety.hold_to_run import HoldToRun


def test_only_a_fresh_press_counts() -> None:
    """Never seen, let go, fallen silent, or stamped ahead of the clock: not held."""
    button = HoldToRun(0.25)
    assert not button.is_held(0.0)
    button.see(True, 1.0)
    assert button.is_held(1.25)
    assert not button.is_held(1.26)
    assert not button.is_held(0.9)
    button.see(False, 1.1)
    assert not button.is_held(1.1)
