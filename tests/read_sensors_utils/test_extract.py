"""One recording becomes one episode whose images, joints and poses belong together."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from ladle.episode import Episode, EpisodeFolder
from ladle.errors import BagError, KinematicsError, LabelError, TaskError
from ladle.kinematics import KinematicChain
from ladle.recording_limits import RecordingLimits
from ladle.sensor_config import CameraConfig
from ladle.task import TaskConfig, load_task
from read_sensors_utils import camera_recorder, checksums, image_layout
from read_sensors_utils.bags import Bag
from read_sensors_utils.checksums import file_checksum
from read_sensors_utils.clocks import clock_maps
from read_sensors_utils.decode import header_ns
from read_sensors_utils.extract import extract_bag
from read_sensors_utils.find_bags import find_bags
from read_sensors_utils.joint_recorder import JointRecorder
from read_sensors_utils.verification import verify_folder


def extracted(synthetic: ModuleType, folder: Path, task: TaskConfig, **plan: Any) -> tuple[Episode, EpisodeFolder]:
    """Write a recording by the plan, extract it, load the episode."""
    [source] = find_bags(synthetic.write_bag(folder / "in" / "rosbag_3", synthetic.BagPlan(**plan)))
    episodes = EpisodeFolder(folder / "out")
    extract_bag(source, task, episodes, 12.5)
    return episodes.load(3), episodes


def tolerant(task: TaskConfig) -> TaskConfig:
    """The task, but any offset of the clocks is accepted."""
    accept = dict.fromkeys(("joints", *task.extracted_cameras), ("clock_offset",))
    return dataclasses.replace(task, recording=RecordingLimits(accept=accept))


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
    episode, _ = extracted(synthetic, tmp_path, tolerant(small_task), joints_delay_s=0.08,
                           camera_delay_s=0.0, jitter_s=0.001)
    newest_received_s = np.floor((episode.decision_s - 0.08) * 100 + 1e-6) / 100
    assert np.all(newest_received_s < episode.observation_s)
    np.testing.assert_allclose(episode.joints, synthetic.joints_at(newest_received_s), atol=1e-9)


def test_the_first_tick_waits_for_every_stream(synthetic, tmp_path, small_task):
    """When the joints start a second late, no tick shows an image from before them."""
    episode, _ = extracted(synthetic, tmp_path, small_task, joints_start_s=1.0, duration_s=2.0)
    assert 1.0 <= episode.observation_s[0] < 1.2
    assert episode.frames["camera_1"].shape[0] == len(episode)
    np.testing.assert_allclose(episode.joints, synthetic.joints_at(episode.observation_s), atol=1e-9)


@pytest.mark.parametrize("shift_s", [-1.7e9, 3600.0])
def test_headers_in_another_clock_are_brought_onto_the_receive_clock(synthetic, tmp_path, small_task, shift_s):
    """Simulation time, or an accepted clock of another origin, changes neither order nor distances."""
    episode, episodes = extracted(synthetic, tmp_path, tolerant(small_task), clock_shift_s=shift_s,
                                  camera_delay_s=0.002)
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
    depth = decoded(root / "videos/3/0_depth.avi", "gray16le")
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


def test_the_codec_of_lossless_depth_is_the_tasks(synthetic, tmp_path, small_task):
    """ffv1 in Matroska holds the same ticks, and verification knows both."""
    for codec, name in (("ffvhuff", "0_depth.avi"), ("ffv1", "0_depth.mkv")):
        root = tmp_path / codec
        extracted(synthetic, root, dataclasses.replace(small_task, depth_codec=codec))
        depth = decoded(root / "out/videos/3" / name, "gray16le")
        np.testing.assert_array_equal(depth[:, 3, 5], 1000 + np.round(1000 * np.arange(60) / 30))
        assert not verify_folder(root / "out").faults


def test_joints_that_cannot_be_read_midway_are_counted(synthetic, tmp_path, small_task):
    """Joints are read many at once after the first tick: a message without its joints is still left out by itself."""
    whole, _ = extracted(synthetic, tmp_path / "a", small_task)
    some, _ = extracted(synthetic, tmp_path / "b", small_task, empty_joints=(40, 41, 97))
    assert some.description["streams"]["joints"]["skipped"] == 3
    np.testing.assert_allclose(some.joints, whole.joints, atol=1e-3)


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
    checksum = file_checksum(source.files[0])
    assert checksum == hashlib.sha256(source.files[0].read_bytes()).hexdigest()


def test_the_checksum_of_a_large_file_knows_its_size_and_its_blocks(tmp_path, monkeypatch):
    """A changed byte in a block and one more byte at the end change it."""
    monkeypatch.setattr(checksums, "WHOLE_UP_TO_BYTES", 1000)
    monkeypatch.setattr(checksums, "BLOCK_BYTES", 10)
    path, sums = tmp_path / "large", set()
    for content in (bytes(5000), b"x" + bytes(4999), bytes(4999) + b"x", bytes(5001)):
        path.write_bytes(content)
        sums.add(file_checksum(path))
    assert len(sums) == 4


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
    task = dataclasses.replace(small_task, joints=joints, frames=None, workspace=None)
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
    assert episode.description["clock"] == {"domain": "simulation", "real_time_factor": pytest.approx(0.999, abs=1e-4)}
    # dt later is the next tick's own observation.
    np.testing.assert_allclose(episode.target_joints[:-1], episode.joints[1:], atol=2e-2)
    assert np.ptp(episode.joints, axis=0).max() > 0.1


def test_a_simulation_slower_than_the_wall_clock_does_not_creep_away(shared_data):
    """The UR3's simulation lost 21 ms in 21 s; on the receive clock its last joints are no older than its first."""
    [source] = find_bags(shared_data / "bags/ros2_db3/ur3_move")
    with Bag(source) as bag:
        stamps = np.array([(header_ns(message), receive_ns) for _, receive_ns, message in
                           bag.messages(["/joint_states"])], np.int64)
    header, receive = stamps.T
    delay_ns = receive - clock_maps({"joints": (header, receive)})["joints"].apply(header)
    assert delay_ns.min() >= 0
    assert abs(int(delay_ns[:200].min()) - int(delay_ns[-200:].min())) < 1_000_000


@pytest.mark.parametrize(("names", "positions", "ordered", "words"), [
    ([], 7, False, ["/joint_states", "order_when_unnamed"]),
    ([], 6, True, ["6 positions and no names"]),
    (["a"] * 7, 6, False, ["7 names but 6 positions"]),
    ([f"panda_joint{i}" for i in range(1, 7)], 6, False, ["lacks panda_joint7"]),
])
def test_joints_that_cannot_be_told_apart_are_refused(tmp_path, small_task, names, positions, ordered, words):
    """No names, other widths, a joint too few: one line that names the topic and what is wrong."""
    recorder = JointRecorder(dataclasses.replace(small_task.joints, order_when_unnamed=ordered), "/joint_states")
    message = SimpleNamespace(name=names, position=np.zeros(positions), velocity=np.zeros(0))
    try:
        assert not recorder.add(message, 1, 1)
        said = recorder.reason
    except BagError as error:
        said = str(error)
    assert all(word in said for word in words), said


def test_unnamed_joints_are_taken_in_order_when_the_task_says_so(small_task):
    """The task file's word is what makes them known."""
    recorder = JointRecorder(dataclasses.replace(small_task.joints, order_when_unnamed=True), "/joint_states")
    assert recorder.add(SimpleNamespace(name=[], position=np.arange(7.0)), 1, 1)
    np.testing.assert_array_equal(recorder.positions_rad[0], np.arange(7.0))


def test_a_clock_that_is_off_is_refused_and_corrected_alike(synthetic, tmp_path, small_task):
    """Headers 40 ms behind: refused with both remedies; with clock_offset_s the images are of their own instants."""
    plan = {"clock_shift_s": -0.04, "camera_delay_s": 0.012}
    with pytest.raises(BagError, match=r"transport_s.*clock_offset_s.*recording\.accept\.joints"):
        extracted(synthetic, tmp_path / "a", small_task, **plan)
    cameras = {key: dataclasses.replace(camera, clock_offset_s=0.04) for key, camera in small_task.cameras.items()}
    task = dataclasses.replace(small_task, cameras=cameras,
                               joints=dataclasses.replace(small_task.joints, clock_offset_s=0.04))
    episode, _ = extracted(synthetic, tmp_path / "b", task, **plan)
    images = np.asarray(episode.frames["camera_1"][:])
    np.testing.assert_allclose(synthetic.time_ms_of(images) * 1e-3, episode.observation_s, atol=1e-6)
    np.testing.assert_allclose(episode.joints, synthetic.joints_at(episode.observation_s), atol=1e-9)


def test_health_is_told_with_every_stream(synthetic, tmp_path, small_task):
    """episode.json says what the stamps were like."""
    episode, _ = extracted(synthetic, tmp_path, small_task, camera_delay_s=0.012, joints_hz=200.0)
    assert episode.description["clock"]["domain"] == "system"
    for stream in episode.description["streams"].values():
        assert stream["health"]["clock"] == "system"
        assert stream["health"]["dropped"] == 0
        assert stream["health"]["count"] == stream["n_samples"]


def test_a_broken_image_is_left_out_and_counted(synthetic, tmp_path, small_task, caplog):
    """It counts as never received: ticks show the frame before it, and bag, topic and reason are named."""
    with caplog.at_level("WARNING"):
        episode, episodes = extracted(synthetic, tmp_path, small_task, broken_images=(0, 7, 8))
    told = episode.description["streams"]["camera_1"]
    assert (told["n_samples"], told["skipped"]) == (57, 3)
    assert "needs 12 rows of at least 72 bytes" in told["skipped_reason"]
    assert any("rosbag_3: 3 of 60 messages on /camera/color/image_raw were left out" in line
               for line in caplog.messages), caplog.messages
    images = np.asarray(episode.frames["camera_1"][:])
    np.testing.assert_array_equal(synthetic.time_ms_of(images), np.round(
        EpisodeFolder(episodes.root).stamps(3)["header_ns_camera_1"][
            EpisodeFolder(episodes.root).stamps(3)["frame_index_camera_1"]] / 1e6 - synthetic.START_NS / 1e6))
    assert len(decoded(episodes.video(3, "camera_1"), "rgb24")) == 57


def test_a_camera_with_broken_images_only_is_refused(synthetic, tmp_path, small_task):
    """One line with the bag, the topic, the reason and the remedy; nothing is written."""
    with pytest.raises(BagError, match=r"rosbag_3: none of the 60 messages on /camera/color/image_raw .*rows") as told:
        extracted(synthetic, tmp_path, small_task, broken_images=tuple(range(60)))
    assert "; " in str(told.value)
    assert not EpisodeFolder(tmp_path / "out").numbers()


def test_refusals_of_a_stream_name_the_recording(synthetic, tmp_path, small_task, monkeypatch):
    """Of many recordings, the one to look at."""
    decode = camera_recorder.decode_image

    def growing(message: Any, camera: CameraConfig, topic: str) -> np.ndarray:
        image = decode(message, camera, topic)
        return image if message.header.stamp.nanosec < 500_000_000 else image[:-1]

    monkeypatch.setattr(camera_recorder, "decode_image", growing)
    monkeypatch.setattr(image_layout, "ATTEMPTS", 0)
    with pytest.raises(BagError, match=r"^rosbag_3: /camera/.* size changes"):
        extracted(synthetic, tmp_path, small_task)


@pytest.mark.parametrize(("kept_s", "words"), [
    ({"/camera/color/image_raw": (0.0, 3.0)}, r"camera_1 coverage: .*last sample .* before the recording ends"),
    ({"/joint_states": (0.0, 3.0)}, r"joints coverage: .*last sample"),
    ({"/camera/color/image_raw": (3.0, 9.0)}, r"camera_1 coverage: .*first sample .* after the recording begins"),
    ({"/camera/depth/image_raw": (0.0, 0.05)}, r"camera_0 coverage: "),
])
def test_a_recording_of_which_half_would_vanish_is_refused(synthetic, tmp_path, small_task, kept_s, words):
    """Streams that end early or begin late; `accept` takes what there is."""
    [source] = find_bags(synthetic.write_bag(tmp_path / "rosbag_3", synthetic.BagPlan(
        duration_s=6.0, camera_hz=10.0, joints_hz=50.0, kept_s=kept_s)))
    with pytest.raises(BagError, match=words) as caught:
        extract_bag(source, small_task, EpisodeFolder(tmp_path / "out"), 1.0)
    assert "recording.accept." in str(caught.value)
    assert not EpisodeFolder(tmp_path / "out").numbers()
    if "/camera/depth/image_raw" in kept_s:
        return
    accept = dict.fromkeys(("joints", "camera_0", "camera_1"), ("coverage", "rate"))
    task = dataclasses.replace(small_task, recording=RecordingLimits(accept=accept))
    assert 20 <= extract_bag(source, task, EpisodeFolder(tmp_path / "out"), 1.0) <= 31


def test_a_recording_of_a_single_tick_is_refused(synthetic, tmp_path, small_task):
    """Nothing can be learnt from it, and it is hardly what its maker meant."""
    with pytest.raises(BagError, match=r"rosbag_3: .*1 tick.*expected 2 or more"):
        extracted(synthetic, tmp_path, small_task, duration_s=0.1)
