"""One recording becomes one episode whose images, joints and poses belong together."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import numpy as np
import pytest

from ladle.episode import Episode, EpisodeFolder
from ladle.errors import BagError, KinematicsError, LabelError, TaskError
from ladle.kinematics import KinematicChain
from ladle.task import TaskConfig, load_task
from read_sensors_utils.bags import file_checksums
from read_sensors_utils.extract import extract_bag
from read_sensors_utils.find_bags import find_bags


def extracted(synthetic: ModuleType, folder: Path, task: TaskConfig, **plan: Any) -> tuple[Episode, EpisodeFolder]:
    """Write a recording by the plan, extract it, load the episode."""
    [source] = find_bags(synthetic.write_bag(folder / "in" / "rosbag_3", synthetic.BagPlan(**plan)))
    episodes = EpisodeFolder(folder / "out")
    extract_bag(source, task, episodes, 12.5)
    return episodes.load(3), episodes


def decoded(path: Path, pixel_format: str) -> np.ndarray:
    """All frames of a video (F, H, W[, 3])."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format=pixel_format) for frame in container.decode(video=0)])


def test_the_frame_of_a_tick_was_taken_at_its_observation_time(synthetic, tmp_path, small_task):
    """Image, joints and pose of each tick are of the same instant, before the decision."""
    episode, _ = extracted(synthetic, tmp_path, small_task)
    images = np.asarray(episode.frames["camera_1"][:])
    np.testing.assert_allclose(synthetic.time_ms_of(images) * 1e-3, episode.observation_s, atol=1e-6)
    np.testing.assert_allclose(episode.joints, synthetic.joints_at(episode.observation_s), atol=1e-9)
    depth = np.asarray(episode.frames["depth_0"][:])
    assert depth.dtype == np.uint16
    np.testing.assert_array_equal(depth[:, 0, 0], 1000 + synthetic.time_ms_of(images))
    assert np.all(episode.observation_s <= episode.decision_s - 0.03)
    np.testing.assert_allclose(np.diff(episode.decision_s), 0.1, atol=1e-9)


def test_poses_come_from_the_description_in_the_recording(synthetic, tmp_path, small_task):
    """eef is the forward kinematics of the joints at t, the target that of the joints at t + dt."""
    episode, _ = extracted(synthetic, tmp_path, small_task)
    assert episode.eef is not None
    assert episode.target is not None
    chain = KinematicChain.from_urdf(synthetic.urdf(), "panda_link0", "panda_hand")
    for poses, joints in ((episode.eef, episode.joints), (episode.target, episode.target_joints)):
        expected = chain.forward(joints)
        np.testing.assert_allclose(poses[:, :3], expected[:, :3], atol=1e-12)
        np.testing.assert_allclose(np.abs(np.sum(poses[:, 3:] * expected[:, 3:], axis=1)), 1.0, atol=1e-12)
        assert np.all(np.sum(poses[1:, 3:] * poses[:-1, 3:], axis=1) > 0)
    np.testing.assert_allclose(episode.target_joints[:-1], synthetic.joints_at(episode.observation_s[:-1] + 0.1),
                               atol=1e-9)


def test_a_camera_of_14_hz_stays_aligned_for_a_minute(synthetic, tmp_path, small_task):
    """After 60 s of a 14.2 Hz camera the images are still of the instant of the poses."""
    episode, episodes = extracted(synthetic, tmp_path, small_task, duration_s=60.0, camera_hz=14.2, joints_hz=50.0)
    images = np.asarray(episode.frames["camera_1"][:])
    assert len(episode) > 590
    np.testing.assert_allclose(synthetic.time_ms_of(images) * 1e-3, episode.observation_s, atol=1e-6)
    np.testing.assert_allclose(episode.joints, synthetic.joints_at(episode.observation_s), atol=1e-9)
    index = episodes.stamps(3)["frame_index_camera_1"]
    np.testing.assert_array_equal(synthetic.time_ms_of(images), np.round(1000 * index / 14.2))


def test_nothing_received_after_the_decision_is_used(synthetic, tmp_path, small_task):
    """Joints that arrive 50 ms late are held, not interpolated with samples from the future."""
    episode, _ = extracted(synthetic, tmp_path, small_task, joints_delay_s=0.08, camera_delay_s=0.0, jitter_s=0.001)
    newest_received_s = np.floor((episode.decision_s - 0.08) * 100 + 1e-6) / 100
    assert np.all(newest_received_s < episode.observation_s)
    np.testing.assert_allclose(episode.joints, synthetic.joints_at(newest_received_s), atol=1e-9)


def test_the_first_tick_waits_for_every_stream(synthetic, tmp_path, small_task):
    """When the joints start a second late, no tick shows an image from before them."""
    episode, _ = extracted(synthetic, tmp_path, small_task, joints_start_s=1.0, duration_s=2.0)
    assert 1.0 <= episode.observation_s[0] < 1.2
    assert episode.frames["camera_1"].shape[0] == len(episode)
    np.testing.assert_allclose(episode.joints, synthetic.joints_at(episode.observation_s), atol=1e-9)


@pytest.mark.parametrize("shift_s", [-1.7e9, 0.04, 3600.0])
def test_headers_in_another_clock_are_brought_onto_the_receive_clock(synthetic, tmp_path, small_task, shift_s):
    """Simulation time, or a clock that runs ahead, changes neither order nor distances; the offset is recorded."""
    episode, episodes = extracted(synthetic, tmp_path, small_task, clock_shift_s=shift_s, camera_delay_s=0.002)
    images = np.asarray(episode.frames["camera_1"][:])
    np.testing.assert_allclose(synthetic.time_ms_of(images) * 1e-3, episode.observation_s, atol=0.005)
    np.testing.assert_allclose(episode.joints, synthetic.joints_at(episode.observation_s), atol=0.002)
    streams = episode.description["streams"]
    assert streams["joints"]["clock_offset_s"] == pytest.approx(-shift_s, abs=0.005)
    raw = episodes.stamps(3)["header_ns_camera_1"][0]
    assert raw == synthetic.START_NS + round(shift_s * 1e9)


def test_a_driver_that_leaves_stamps_at_zero_is_read_by_receipt(synthetic, tmp_path, small_task):
    """Without header stamps a sample counts as taken when it was received, also when the joints start late."""
    episode, episodes = extracted(synthetic, tmp_path, small_task, stamped=False, joints_start_s=0.5)
    stamps = episodes.stamps(3)
    shown_s = (stamps["receive_ns_camera_1"][stamps["frame_index_camera_1"]] - synthetic.START_NS) * 1e-9
    np.testing.assert_allclose(episode.observation_s, shown_s, atol=1e-9)
    assert 0.5 < episode.observation_s[0] < 0.7
    assert stamps["frame_index_camera_1"][-1] > 50


@pytest.mark.parametrize("plan", [
    {"storage": "db3"}, {"storage": "ros1"}, {"joints": "robot_state"}, {"joints": "nested"}, {"compressed": True},
])
def test_every_kind_of_recording_gives_the_same_episode(synthetic, tmp_path, small_task, plan):
    """mcap, db3 and ROS 1, any joint source, raw or compressed images: the arrays are equal."""
    reference, _ = extracted(synthetic, tmp_path / "a", small_task)
    if plan.get("storage") == "ros1":
        synthetic.write_bag(tmp_path / "b" / "3" / "rosbag_3.bag", synthetic.BagPlan(**plan))
        [source] = find_bags(tmp_path / "b")
        episodes = EpisodeFolder(tmp_path / "out")
        extract_bag(source, small_task, episodes, 12.5)
        episode = episodes.load(3)
    else:
        episode, _ = extracted(synthetic, tmp_path / "b", small_task, **plan)
    np.testing.assert_array_equal(episode.joints, reference.joints)
    np.testing.assert_array_equal(episode.eef, reference.eef)
    for key in ("camera_1", "depth_0"):
        np.testing.assert_array_equal(episode.frames[key][:], reference.frames[key][:])


def test_the_layout_is_the_one_of_the_readme(synthetic, tmp_path, small_task):
    """All files are there, depth is lossless, views hold every source frame, mass is one number a tick."""
    episode, episodes = extracted(synthetic, tmp_path, small_task)
    root = tmp_path / "out"
    depth = decoded(root / "videos/3/0_depth.mkv", "gray16le")
    stamps = episodes.stamps(3)
    assert len(depth) == len(stamps["header_ns_camera_0"]) == 60
    np.testing.assert_array_equal(depth[:, 3, 5], 1000 + np.round(1000 * np.arange(60) / 30))
    np.testing.assert_array_equal(depth[stamps["frame_index_camera_0"]], episode.frames["depth_0"][:])
    rgb = decoded(root / "videos/3/1.mp4", "rgb24")
    assert rgb.shape == (60, 12, 24, 3)
    assert decoded(root / "videos/3/0.mp4", "gray").shape == (60, 12, 24)
    np.testing.assert_array_equal(np.load(root / "numpy/3/1.npy"), synthetic.image_of(0))
    assert np.load(root / "numpy/3/0.npy").shape == (12, 24, 3)
    mass = np.loadtxt(root / "actions/3/mass.txt")
    np.testing.assert_array_equal(mass[:, 1], 12.5)
    assert len(mass) == len(episode)
    [(name, checksum)] = episode.description["source"]["sha256"].items()
    assert name.endswith(".mcap")
    assert len(checksum) == 64
    assert sorted(path.name for path in root.iterdir()) == ["actions", "frames", "numpy", "stamps", "videos"]


def test_frames_are_stored_in_zarr_2_with_blosc(synthetic, tmp_path, small_task):
    """The original code reads zarr format 2 with a built-in codec."""
    extracted(synthetic, tmp_path, small_task)
    header = (tmp_path / "out/frames/3.zarr/camera_1/.zarray").read_text()
    assert '"zarr_format": 2' in header
    assert "blosc" in header


def test_the_checksum_is_that_of_the_storage_file(synthetic, tmp_path):
    """sha256 of the bytes on disk, one a file."""
    import hashlib
    [source] = find_bags(synthetic.write_bag(tmp_path / "rosbag_1", synthetic.BagPlan(duration_s=0.2)))
    [(name, checksum)] = file_checksums(source).items()
    assert checksum == hashlib.sha256((tmp_path / "rosbag_1" / name).read_bytes()).hexdigest()


@pytest.mark.parametrize(("plan", "kind", "words"), [
    ({"without": ("/joint_states",)}, BagError, ["/robot_state", "it has", "/camera/color/image_raw"]),
    ({"without": ("/camera/color/image_raw",)}, BagError, ["/camera/color/image_raw", "camera_1", "/joint_states"]),
    ({"without": ("/robot_description",)}, BagError, ["/robot_description", "it has"]),
    ({"tip": "other_hand"}, KinematicsError, ["panda_hand", "other_hand"]),
])
def test_what_a_recording_lacks_is_said_with_what_it_has(synthetic, tmp_path, small_task, plan, kind, words):
    """The error names the topic or frame and what is there; nothing half-written is left."""
    with pytest.raises(kind) as raised:
        extracted(synthetic, tmp_path, small_task, **plan)
    assert all(word in str(raised.value) for word in words), raised.value
    assert not list((tmp_path / "out").glob("**/*")) if (tmp_path / "out").exists() else True


def test_joints_of_another_robot_are_not_taken(synthetic, tmp_path, small_task):
    """A joint topic without the task's names is an error that tells the names it has."""
    assert small_task.joints is not None
    joints = dataclasses.replace(small_task.joints, names=tuple(f"fr3_joint{i}" for i in range(1, 8)))
    task = dataclasses.replace(small_task, joints=joints, frames=None)
    with pytest.raises(BagError, match="panda_joint4"):
        extracted(synthetic, tmp_path, task)
    assert not list((tmp_path / "out").glob(".partial*"))


def test_a_commanded_action_source_is_refused(synthetic, tmp_path, small_task):
    """What cannot be extracted yet is refused, not replaced by something else."""
    with pytest.raises(TaskError, match="commanded"):
        extracted(synthetic, tmp_path, dataclasses.replace(small_task, action_source="commanded"))


def test_override_keeps_the_labels_that_people_made(synthetic, tmp_path, small_task):
    """Extracting again takes the labels over; labels that do not fit stop it and stay untouched."""
    _, episodes = extracted(synthetic, tmp_path, small_task)
    labels = np.repeat([0, 1, 2], 20)
    np.save(episodes.action_folder(3) / "annotations_video.npy", labels)
    [source] = find_bags(tmp_path / "in" / "rosbag_3")
    extract_bag(source, small_task, episodes, 12.5, override=True)
    episode = episodes.load(3)
    np.testing.assert_array_equal(episode.labels, labels[episodes.stamps(3)["frame_index_camera_1"]])
    np.save(episodes.action_folder(3) / "annotations_video.npy", labels[:50])
    with pytest.raises(LabelError, match="50 labels for 60 frames"):
        extract_bag(source, small_task, episodes, 12.5, override=True)
    np.testing.assert_array_equal(episodes.frame_labels(3), labels[:50])
    assert episodes.numbers() == [3]


def test_a_genuine_recording_without_cameras_gives_joints(shared_data, tmp_path):
    """A UR3 whose headers are simulation time, 1.7e9 s from the receive stamps."""
    [source] = find_bags(shared_data / "bags/ros2_db3/ur3_move")
    episodes = EpisodeFolder(tmp_path)
    n_ticks = extract_bag(source, load_task("ur3_joints"), episodes, None)
    episode = episodes.load(source.number)
    assert len(episode) == n_ticks == 210
    assert episode.eef is None
    assert episode.joints.shape == (210, 6)
    assert episode.description["streams"]["joints"]["clock_offset_s"] == pytest.approx(1702259823.67, abs=0.01)
    np.testing.assert_allclose(episode.decision_s - episode.observation_s, 1 / 50, atol=1e-9)
    # dt later is the next tick's own observation.
    np.testing.assert_allclose(episode.target_joints[:-1], episode.joints[1:], atol=2e-2)
    assert np.ptp(episode.joints, axis=0).max() > 0.1
