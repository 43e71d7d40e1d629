"""The JTC model behaves as the design page measured the real controllers to behave."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ladle.errors import SimulationError
from simulation.jtc_goal import ERASED, Tolerances
from simulation.jtc_model import JtcModel, JtcParameters, TrajectoryMessage
from simulation.jtc_trajectory import JointState, interpolate

NAMES = ("a", "b")
REPLACING = ("humble", "jazzy", "kilted")


def plan(times_s):
    """A smooth motion of two joints, at most 1 rad/s and 2 rad/s^2: position, velocity, acceleration (k, 2)."""
    t = np.asarray(times_s)[:, None] + np.array([0.0, 0.3])
    return 0.5 * np.sin(2 * t), np.cos(2 * t), -2 * np.sin(2 * t)


def message(stamp_s, base_s, from_s, to_s, step_s=0.02, end_at_rest=True):
    """The plan from `from_s` to `to_s` with times counted from `base_s`, plus a tail that comes to rest."""
    times = np.arange(from_s, to_s, step_s)
    position, velocity, acceleration = plan(times)
    if end_at_rest:
        times = np.append(times, times[-1] + 0.6)
        position = np.vstack([position, position[-1] + 0.3 * velocity[-1]])
        velocity, acceleration = (np.vstack([v, np.zeros(2)]) for v in (velocity, acceleration))
    return TrajectoryMessage(stamp_s, NAMES, times - base_s, position, velocity, acceleration)


def run(model, chunks, duration_s):
    """Set-points (k, 2) of 1 ms cycles; chunks is [(arrival_s, message)]."""
    cycles = np.round(np.arange(0.1, duration_s, 0.001), 3)
    out, waiting = [], list(chunks)
    for now in cycles:
        while waiting and waiting[0][0] <= now:
            assert model.accept(waiting.pop(0)[1], now) is None
        out.append(model.setpoints(np.array([now]))[0])
    return cycles, np.array(out)


def peak_acceleration(positions):
    """Largest second difference of 1 kHz set-points, rad/s^2."""
    return float(np.abs(np.diff(positions, n=2, axis=0)).max() / 1e-6)


@pytest.mark.parametrize("distribution", REPLACING)
def test_absolute_past_stamp_with_overlapping_prefix_is_exact(distribution):
    """A past time base and points that begin before now follow the plan through every replacement."""
    chunks = [(start + 0.005, message(0.05, 0.05, start - 0.05, start + 0.5)) for start in np.arange(0.1, 1.5, 0.1)]
    model = JtcModel(distribution, NAMES, plan([0.1])[0][0])
    cycles, positions = run(model, chunks, 1.5)
    ahead = 0.0 if distribution == "humble" else 0.001
    moving = cycles > 0.12
    np.testing.assert_allclose(positions[moving], plan(cycles[moving] + ahead)[0], atol=1e-7)
    assert peak_acceleration(positions[moving]) < 2.2


@pytest.mark.parametrize("distribution", REPLACING)
def test_stamp_zero_with_transport_delay_makes_a_bump(distribution):
    """Re-basing each chunk at its receipt turns 5 ms of delay into several times the acceleration of the plan."""
    chunks = [(start + 0.005, message(0.0, start, start + 0.02, start + 0.5)) for start in np.arange(0.1, 1.5, 0.1)]
    model = JtcModel(distribution, NAMES, plan([0.1])[0][0])
    cycles, positions = run(model, chunks, 1.5)
    assert peak_acceleration(positions[cycles > 0.2]) > 10.0


def test_positions_only_are_linear_segments():
    """Without velocities the set-points lie on straight lines between points."""
    times = np.array([0.1, 0.5])
    corner = np.array([[0.0, 0.0], [0.4, -0.8]])
    model = JtcModel("humble", NAMES, np.zeros(2))
    assert model.accept(TrajectoryMessage(0.05, NAMES, times, corner), 0.1) is None
    out = model.setpoints(np.array([0.15, 0.25, 0.35, 0.55, 0.9]))
    np.testing.assert_allclose(out[:, 0], [0.0, 0.1, 0.2, 0.4, 0.4], atol=1e-12)


def test_first_point_at_time_zero_is_a_step():
    """A message whose first point is due at once jumps there, wherever the arm is."""
    model = JtcModel("jazzy", NAMES, np.zeros(2))
    points = np.array([[0.2, 0.2], [0.2, 0.2]])
    assert model.accept(TrajectoryMessage(0.0, NAMES, np.array([0.0, 1.0]), points), 5.0) is None
    np.testing.assert_allclose(model.setpoints(np.array([5.0]))[0], 0.2)


def test_bridge_starts_at_the_measured_state_or_at_the_last_command():
    """The parameter decides from where the first point is approached."""
    points = TrajectoryMessage(0.0, NAMES, np.array([1.0]), np.array([[1.0, 1.0]]))
    measured = np.array([0.1, 0.1])
    for desired, expected in ((False, 0.1), (True, 0.0)):
        model = JtcModel("humble", NAMES, np.zeros(2), JtcParameters(interpolate_from_desired_state=desired))
        model.setpoints(np.array([9.999]))
        assert model.accept(points, 10.0) is None
        np.testing.assert_allclose(model.setpoints(np.array([10.0]), measured)[0], expected)


def test_after_the_last_point_the_position_is_held():
    """The set-points stay at the last point and the model says that it is done."""
    model = JtcModel("jazzy", NAMES, np.zeros(2))
    assert model.is_finished
    assert model.accept(message(0.1, 0.1, 0.1, 0.5), 0.1) is None
    assert not model.is_finished
    model.setpoints(np.array([0.2]))
    assert not model.is_finished
    late = model.setpoints(np.array([3.0, 4.0]))
    assert model.is_finished
    np.testing.assert_array_equal(late[0], late[1])


@pytest.mark.parametrize(("distribution", "refused"), [("humble", False), ("jazzy", True), ("kilted", True)])
def test_final_velocity_is_refused_from_jazzy_on(distribution, refused):
    """Humble takes a message that ends moving, later distributions do not, unless the parameter says so."""
    moving = message(0.1, 0.1, 0.1, 0.5, end_at_rest=False)
    reason = JtcModel(distribution, NAMES, np.zeros(2)).accept(moving, 0.1)
    assert (reason is not None) == refused
    allowing = JtcParameters(allow_nonzero_velocity_at_trajectory_end=True)
    assert JtcModel(distribution, NAMES, np.zeros(2), allowing).accept(moving, 0.1) is None


def test_joints_are_matched_by_name():
    """Columns in another order give the same set-points."""
    straight = message(0.1, 0.1, 0.1, 0.5)
    swapped = replace(
        straight,
        joint_names=("b", "a"),
        positions_rad=straight.positions_rad[:, ::-1],
        velocities_rad_s=straight.velocities_rad_s[:, ::-1],
        accelerations_rad_s2=straight.accelerations_rad_s2[:, ::-1],
    )
    outputs = []
    for sent in (straight, swapped):
        model = JtcModel("jazzy", NAMES, np.zeros(2))
        assert model.accept(sent, 0.1) is None
        outputs.append(model.setpoints(np.arange(0.15, 0.6, 0.01)))
    np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"joint_names": ("a",)}, "do not match"),
        ({"joint_names": ("a", "x")}, "joint x is not one"),
        ({"joint_names": ()}, "empty joint names"),
        ({"stamp_s": 1.0}, "ended"),
        ({"times_from_start_s": np.array([0.3, 0.3])}, "strictly increasing"),
        ({"times_from_start_s": np.zeros(0)}, "empty trajectory"),
        ({"positions_rad": np.zeros((2, 3))}, "shape"),
    ],
)
def test_refusals_name_the_reason_and_leave_the_running_plan(change, words):
    """A refused message changes nothing."""
    good = TrajectoryMessage(9.9, NAMES, np.array([0.1, 5.0]), np.ones((2, 2)))
    model = JtcModel("jazzy", NAMES, np.zeros(2))
    assert model.accept(good, 10.0) is None
    model.setpoints(np.array([10.0]))
    reason = model.accept(replace(good, **change), 10.0)
    assert reason is not None
    assert words in reason
    np.testing.assert_allclose(model.setpoints(np.array([10.1]))[0], 1.0)


def test_omitted_joint_holds_when_partial_goals_are_allowed():
    """A joint that the message leaves out stays where it was commanded."""
    model = JtcModel("jazzy", NAMES, np.array([0.0, 0.7]), JtcParameters(allow_partial_joints_goal=True))
    only_a = TrajectoryMessage(0.0, ("a",), np.array([0.1]), np.array([[0.4]]))
    assert model.accept(only_a, 1.0) is None
    np.testing.assert_allclose(model.setpoints(np.array([1.0, 2.0]))[1], [0.4, 0.7])


def test_master_switches_at_a_future_stamp():
    """On master the running plan goes on until the stamp; blending itself costs one cycle of lag, no more."""
    parameters = JtcParameters(interpolate_from_desired_state=True)
    model = JtcModel("master", NAMES, plan([0.1])[0][0], parameters)
    first = message(0.05, 0.05, 0.05, 1.2)
    second = message(0.6, 0.6, 0.61, 1.5)
    cycles, positions = run(model, [(0.1, first), (0.4, second)], 1.0)
    moving = cycles > 0.12
    np.testing.assert_allclose(positions[moving], plan(cycles[moving] + 0.001)[0], atol=1.1e-3)


def test_master_rebases_a_past_stamp_to_its_cursor():
    """What is exact on Jazzy lags on master, unless replacement is off."""
    first, second = message(0.05, 0.05, 0.05, 1.2), message(0.05, 0.05, 0.10, 1.2)
    errors = []
    for allow in (True, False):
        model = JtcModel("master", NAMES, plan([0.1])[0][0], JtcParameters(allow_trajectory_replacement=allow))
        cycles, positions = run(model, [(0.1, first), (0.4, second)], 0.9)
        late = cycles > 0.6
        errors.append(np.abs(positions[late] - plan(cycles[late] + 0.001)[0]).max())
    assert errors[0] > 0.05
    assert errors[1] < 1e-6


def test_unknown_distribution_is_refused_by_name():
    """The message says which distributions are known."""
    with pytest.raises(SimulationError, match=r"foxy.*humble"):
        JtcModel("foxy", NAMES, np.zeros(2))  # type: ignore[arg-type]


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.floats(-2, 2), min_size=6, max_size=6),
    st.floats(0.01, 2.0),
)
def test_interpolation_meets_both_ends_to_its_degree(values, span_s):
    """Cubic segments meet position and velocity, quintic ones also acceleration, at both ends."""
    a, b = (JointState(*(np.full((2, 1), v) for v in values[i : i + 3])) for i in (0, 3))
    elapsed, span = np.array([0.0, span_s]), np.full(2, span_s)
    quintic = interpolate(a, b, elapsed, span)
    cubic = interpolate(replace(a, acceleration_rad_s2=None), b, elapsed, span)
    scale = 1e-6 / min(span_s, 1.0) ** 2
    for found in (quintic, cubic):
        np.testing.assert_allclose(found.position_rad[:, 0], [values[0], values[3]], atol=scale)
        np.testing.assert_allclose(found.velocity_rad_s[:, 0], [values[1], values[4]], atol=scale)
    np.testing.assert_allclose(quintic.acceleration_rad_s2[:, 0], [values[2], values[5]], atol=scale)


ALL = ("humble", "jazzy", "kilted", "master")


def slow(stamp_s=0.0):
    """One second from where the arm is to 0.1 rad and rest."""
    return TrajectoryMessage(stamp_s, NAMES, np.array([1.0]), np.full((1, 2), 0.1), np.zeros((1, 2)), np.zeros((1, 2)))


def at_work(distribution, parameters, goal=None):
    """A model whose slow motion began at 10 s; as a goal if tolerances are given."""
    model = JtcModel(distribution, NAMES, np.zeros(2), parameters)
    accepted = model.accept(slow(), 10.0) if goal is None else model.accept_goal(slow(), 10.0, goal)
    assert accepted is None
    model.setpoints(np.array([10.0]), np.zeros(2), np.zeros(2))
    return model


@pytest.mark.parametrize("distribution", ALL)
@pytest.mark.parametrize("as_goal", [False, True])
def test_a_path_tolerance_holds_the_measured_position(distribution, as_goal):
    """On the topic too, when the parameters have one: the set-point stays for a cycle, then jumps to the joints."""
    model = at_work(distribution, JtcParameters(path_tolerance_rad=0.02), Tolerances() if as_goal else None)
    on_path = model.setpoints(np.array([10.5]), np.full(2, 0.04), np.zeros(2))[0]
    lost = model.setpoints(np.array([10.501, 10.502, 11.5]), np.full(2, 0.0), np.zeros(2))
    np.testing.assert_array_equal(lost[0], on_path)
    np.testing.assert_array_equal(lost[1:], 0.0)
    assert model.outcomes == (["PATH_TOLERANCE_VIOLATED"] if as_goal else [])
    assert model.is_holding


@pytest.mark.parametrize("distribution", ALL)
def test_a_topic_knows_no_tolerances_of_its_own(distribution):
    """Without the parameter a message is carried out however far away the arm is; a goal may bring its own."""
    far = np.full(2, 1.0)
    model = at_work(distribution, JtcParameters())
    assert model.setpoints(np.array([10.5]), far, np.zeros(2))[0, 0] < 0.1
    assert not model.is_holding
    strict = at_work(distribution, JtcParameters(), Tolerances(path_rad=0.02))
    strict.setpoints(np.array([10.5]), far, np.zeros(2))
    assert strict.outcomes == ["PATH_TOLERANCE_VIOLATED"]


def test_a_goals_tolerances_stay_after_it():
    """What the last goal brought counts for the topic too, until another goal comes."""
    model = at_work("jazzy", JtcParameters(), Tolerances(path_rad=0.02))
    model.setpoints(np.array([11.2]), np.full(2, 0.1), np.zeros(2))
    assert model.outcomes == ["SUCCESSFUL"]
    assert model.accept(slow(), 12.0) is None
    model.setpoints(np.array([12.0]), np.full(2, 0.1), np.zeros(2))
    model.setpoints(np.array([12.5]), np.full(2, 0.5), np.zeros(2))
    assert model.is_holding


@pytest.mark.parametrize(("goal", "expected"), [
    (Tolerances(goal_rad=0.01, goal_time_s=0.5), ["GOAL_TOLERANCE_VIOLATED"]),
    (Tolerances(goal_rad=0.01), []),
    (Tolerances(goal_rad=0.1), ["SUCCESSFUL"]),
    (Tolerances(), ["SUCCESSFUL"]),
])
def test_a_goal_ends_by_its_tolerances(goal, expected):
    """0.05 rad off: in time, too late, waited for without a goal time, or taken as reached."""
    model = at_work("jazzy", JtcParameters(), goal)
    for now in (11.1, 11.6, 12.0):
        model.setpoints(np.array([now]), np.full(2, 0.05), np.zeros(2))
    assert model.outcomes == expected
    assert model.goal_is_active == (not expected)


def test_a_goal_overrides_or_erases_what_the_parameters_say():
    """0 keeps, -1 erases, another negative number leaves everything as it was."""
    own = Tolerances(0.1, 0.2, 3.0)
    assert own.overridden(Tolerances(0.0, ERASED, 1.0)) == Tolerances(0.1, 0.0, 1.0)
    assert own.overridden(Tolerances(-0.5, ERASED, 1.0)) is own


def test_a_second_goal_aborts_the_first_and_the_topic_none():
    """The goal under way is told INVALID_GOAL by a goal; a topic message only changes what it is judged by."""
    model = at_work("jazzy", JtcParameters(), Tolerances())
    assert model.accept(slow(), 10.2) is None
    assert model.goal_is_active
    assert model.accept_goal(slow(), 10.4) is None
    assert model.outcomes == ["INVALID_GOAL"]
    moving_end = message(10.4, 10.4, 10.4, 10.8, end_at_rest=False)
    assert "not zero" in str(model.accept_goal(moving_end, 10.4))


@pytest.mark.parametrize("distribution", ALL)
@pytest.mark.parametrize(("timeout_s", "held"), [(0.5, True), (0.0, False), (0.2, False)])
def test_a_command_time_out_counts_from_the_last_point(distribution, timeout_s, held):
    """Then the measured position is held; a time-out that is not above the goal time is ignored."""
    model = at_work(distribution, JtcParameters(cmd_timeout_s=timeout_s, goal_time_s=0.3))
    model.setpoints(np.array([11.4]), np.full(2, 0.09), np.zeros(2))
    late = model.setpoints(np.array([11.6, 11.7]), np.full(2, 0.09), np.zeros(2))
    np.testing.assert_allclose(late[:, 0], [0.1, 0.09 if held else 0.1])


def test_without_interpolation_the_next_point_is_set_at_once():
    """Before the first point the state before it, then each next point from the one before on."""
    model = JtcModel("jazzy", NAMES, np.zeros(2), JtcParameters(interpolation_method="none"))
    times, points = np.array([0.1, 0.5]), np.array([[0.1, 0.1], [0.2, 0.2]])
    assert model.accept(TrajectoryMessage(0.0, NAMES, times, points), 1.0) is None
    out = model.setpoints(np.array([1.0, 1.05, 1.2, 1.6]))
    np.testing.assert_allclose(out[:, 0], [0.0, 0.0, 0.2, 0.2])


@pytest.mark.parametrize(("desired", "second"), [
    (False, (0.6, 0.6, 0.61, 1.5)), (True, (0.6, 0.6, 0.61, 1.5)), (False, (0.05, 0.05, 0.4, 1.5)),
])
def test_masters_blending_steps_at_every_replacement(desired, second):
    """Why a plan is not streamed into it: of an arm 3 ms behind at 1 rad/s the set-points leap, whatever the stamp."""
    parameters = JtcParameters(interpolate_from_desired_state=desired)
    model = JtcModel("master", NAMES, plan([0.1])[0][0], parameters)
    assert model.accept(message(0.05, 0.05, 0.05, 1.2), 0.1) is None
    rows = []
    for now in np.round(np.arange(0.1, 0.5, 0.001), 3):
        if now == 0.4:
            assert model.accept(message(*second), now) is None
        measured = plan([now - 0.003])
        rows.append(model.setpoints(np.array([now]), measured[0][0], measured[1][0])[0])
    assert peak_acceleration(np.array(rows)[20:]) > 300.0


def test_of_several_messages_between_two_cycles_the_newest_counts():
    """As the controller's buffer has it: the older one is never followed."""
    model = JtcModel("jazzy", NAMES, np.zeros(2))
    for target in (0.1, 0.2):
        point = np.full((1, 2), target)
        assert model.accept(TrajectoryMessage(0.0, NAMES, np.array([0.5]), point), 0.1) is None
    assert not model.is_finished
    np.testing.assert_allclose(model.setpoints(np.arange(0.1, 0.8, 0.001))[-1], 0.2)
    assert model.is_finished
