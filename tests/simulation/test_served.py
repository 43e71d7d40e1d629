"""The simulator's processes: what they deliver, and how they end."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Generator
from pathlib import Path

import numpy as np
import pytest

from ladle.errors import SimulationError
from ladle.task import load_task
from simulation.scene_sampling import sample_scene
from simulation.scene_video import SceneVideo
from simulation.served import Sample, ServedSimulation
from simulation.served_link import ArmEnd, SetpointRequest, answer_requests
from simulation.served_process import ServedProcess

TASK = load_task("scoop")
CAMERAS = ("camera_0", "camera_1")
TICKS = 6


@pytest.fixture(scope="module")
def every_frame() -> Generator[ServedSimulation]:
    """Draws whatever the cameras take."""
    served = ServedSimulation(TASK, "auto", CAMERAS, only_newest_frames=False)
    yield served
    served.close()


def _ticks(served: ServedSimulation, seed: int) -> list[list[Sample]]:
    """What arrives in each of a few ticks of 0.1 s while the arm holds its start."""
    start = served.reset(sample_scene(seed, "eval"))
    return [served.advance(np.tile(start.q_rad, (100, 1))) for _ in range(TICKS)]


def _newest(samples: list[Sample]) -> dict[str, Sample]:
    return {sample.event.stream: sample for sample in samples}


def test_a_decision_sees_the_same_with_only_the_newest_frames(every_frame: ServedSimulation) -> None:
    """Frames that no decision uses may be left undrawn: the newest ones at every tick are the same, bit for bit."""
    with_all = _ticks(every_frame, seed=3)
    frugal = ServedSimulation(TASK, "auto", CAMERAS, only_newest_frames=True)
    try:
        with_newest = _ticks(frugal, seed=3)
    finally:
        frugal.close()
    for all_samples, newest_samples in zip(with_all, with_newest, strict=True):
        images = [s for s in newest_samples if s.image is not None]
        assert len(images) == len(CAMERAS) < sum(s.image is not None for s in all_samples)
        for sample in images:
            reference = _newest(all_samples)[sample.event.stream]
            assert reference.event == sample.event
            np.testing.assert_array_equal(reference.image, sample.image)


def test_samples_arrive_in_order_and_never_early(every_frame: ServedSimulation) -> None:
    """At the end of a tick everything received by then is there, in order of receipt, and nothing else."""
    received = [sample.event.receive_s for samples in _ticks(every_frame, seed=4) for sample in samples]
    assert received == sorted(received)
    for number, samples in enumerate(_ticks(every_frame, seed=4), start=1):
        assert all((number - 1) * 0.1 < s.event.receive_s + 1e-9 <= number * 0.1 + 2e-9 for s in samples)
        joints = [s for s in samples if s.joints is not None]
        assert 18 <= len(joints) <= 22
        assert all(abs(s.joints.time_s - s.event.capture_s) < 1e-9 for s in joints if s.joints)


def test_an_error_in_a_process_reaches_the_caller_and_the_process_goes_on() -> None:
    """The renderer's refusal is a user's error here; the next call works."""
    renderer = ServedProcess("simulation.served_renderer")
    try:
        with pytest.raises(SimulationError, match="no renderer named 'crayons'"):
            renderer.call("reset", sample_scene(0), "crayons")
        renderer.call("reset", sample_scene(0), "auto")
    finally:
        renderer.close()


def test_a_killed_process_is_named() -> None:
    """The caller learns at once which process is gone."""
    arm = ServedProcess("simulation.served_arm")
    os.kill(arm.pid, signal.SIGKILL)
    with pytest.raises(SimulationError, match=r"simulation\.served_arm ended"):
        arm.call("reset", sample_scene(0))
    arm.close()


def test_the_arm_and_its_controller_meet_at_a_socket(tmp_path: Path) -> None:
    """Requests arrive as they were asked, answers bit for bit; hanging up ends the controller and the socket."""
    path = tmp_path / "arm.sock"
    path.write_text("left by a killed process")
    arm, asked = ArmEnd(str(path)), list[SetpointRequest]()

    def answer(request: SetpointRequest) -> np.ndarray:
        asked.append(request)
        return np.tile(request.measured_rad, (request.cycles, 1)) / 3.0

    controller = threading.Thread(target=answer_requests, args=(str(path), answer))
    controller.start()
    arm.accept()
    request = SetpointRequest("setpoints", 10**15 + 1, 4, 2, (0.1, 0.2), (0.0, 0.0))
    np.testing.assert_array_equal(arm.ask(request), np.tile((0.1, 0.2), (4, 1)) / 3.0)
    assert asked == [request]
    arm.close()
    controller.join(timeout=60.0)
    assert not controller.is_alive()
    assert not path.exists()


def test_a_video_has_one_picture_a_period_with_the_cameras_side_by_side(tmp_path: Path) -> None:
    """Ten ticks of two cameras become ten pictures of twice the width; a second scene goes on in the same film."""
    import av

    video = SceneVideo(tmp_path / "film.mp4", rate_hz=10.0, cameras=("left", "right"))
    for scene in range(2):
        video.restart()
        for tick in range(1, 11):
            image = np.full((120, 240, 3), 10 * tick + 100 * scene, np.uint8)
            video.add({"left": image} if tick == 1 else {"left": image, "right": image}, tick * 0.1)
            video.add({"left": image}, tick * 0.1 + 0.03)
    video.close()
    with av.open(str(tmp_path / "film.mp4")) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    assert len(frames) == 20
    assert frames[0].shape == (120, 480, 3)
    assert frames[0][:, 240:].mean() < 5 < frames[0][:, :240].mean()
