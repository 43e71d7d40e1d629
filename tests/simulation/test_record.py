"""Recorded demonstrations are what the expert did, and a recording can be interrupted at any time."""

from __future__ import annotations

import csv
import logging
import shutil
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest
from rosbags.highlevel import AnyReader

from ladle.errors import SimulationError
from ladle.kinematics import KinematicChain
from ladle.pose import quaternion_to_matrix
from ladle.task import load_task
from simulation import record
from simulation.demonstration import demonstrate
from simulation.scene_sampling import sample_scene

TASK = load_task("scoop")


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Two whole demonstrations, made by two processes."""
    output = tmp_path_factory.mktemp("recording")
    records = record.record_demonstrations(output, 2, first_seed=5, workers=2)
    return output, records


@pytest.fixture(scope="module")
def bag(recording):
    """Topic -> [(receive_ns, message)] of the first bag."""
    output, _ = recording
    found = defaultdict(list)
    with AnyReader([output / "rosbag_0"]) as reader:
        for connection, stamp_ns, data in reader.messages():
            found[connection.topic].append((stamp_ns, reader.deserialize(data, connection.msgtype)))
    return dict(found)


@pytest.fixture
def short_demonstration(monkeypatch):
    """Makes demonstrations of 0.2 s, which succeed unless their seed is in the returned set."""
    failing = set()
    whole = demonstrate(sample_scene(0, "train"), TASK)
    looks = [look for look in whole.looks if look.event.receive_s < 0.2]

    def short(scene, task, wished_g):
        return replace(whole, mass_g=wished_g or whole.mass_g, scene=scene, looks=looks,
                       succeeded=scene.seed not in failing)

    monkeypatch.setattr(record, "demonstrate", short)
    return failing


def header_ns(message):
    """The header stamp in nanoseconds."""
    return message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec


def snapshot(output):
    """File name -> bytes of everything under a folder."""
    return {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*") if path.is_file()}


def test_every_topic_is_there_at_its_rate(bag):
    """Over the whole demonstration each sensor keeps its rate, and no sample is received before its stamp."""
    duration_s = (bag["/joint_states"][-1][0] - bag["/joint_states"][0][0]) * 1e-9
    assert 8.0 < duration_s <= 15.0
    rates = {
        "/camera/color/image_raw": 30, "/camera/color/image_raw/compressed": 30, "/camera/depth/image_raw": 30,
        "/camera_front/color/image_raw": 10, "/joint_states": 200, "/robot_state": 200,
    }
    for topic, rate_hz in rates.items():
        assert len(bag[topic]) == pytest.approx(duration_s * rate_hz, abs=3), topic
        delays_ns = [stamp - header_ns(message) for stamp, message in bag[topic]]
        assert min(delays_ns) > 0, topic
        assert max(delays_ns) < 16_000_000, topic
    assert len(bag["/robot_description"]) == 1
    assert "panda_link0" in bag["/robot_description"][0][1].data


def test_the_arm_moves_as_its_kinematics_say(bag):
    """Both joint topics agree, and O_T_EE is the forward kinematics of q through the URDF in the bag."""
    chain = KinematicChain.from_urdf(bag["/robot_description"][0][1].data, TASK.frames.base, TASK.frames.tip)
    states = [message for _, message in bag["/robot_state"]]
    q_rad = np.array([state.q for state in states])
    np.testing.assert_array_equal(q_rad, [message.position for _, message in bag["/joint_states"]])
    assert np.ptp(q_rad, axis=0).max() > 0.2
    poses = chain.forward(q_rad)
    recorded = np.array([state.o_t_ee.reshape(4, 4).T for state in states])
    np.testing.assert_allclose(recorded[:, :3, 3], poses[:, :3], atol=1e-3)
    np.testing.assert_allclose(recorded[:, :3, :3], quaternion_to_matrix(poses[:, 3:]), atol=3e-3)


def test_truth_labels_the_colour_frames(recording, bag):
    """One stage for each frame, under the frame's own stamp, running from before to lifted."""
    output, records = recording
    with np.load(output / "truth" / "0.npz") as truth:
        frames_ns = [header_ns(message) for _, message in bag["/camera/color/image_raw"]]
        np.testing.assert_array_equal(truth["header_ns"], frames_ns)
        assert truth["stage"].tolist() == sorted(truth["stage"].tolist())
        assert set(truth["stage"].tolist()) == {0, 1, 2}
    with (output / "data.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["index"] for row in rows] == ["0", "1"]
    assert [float(row["mass"]) for row in rows] == pytest.approx([r.mass_g for r in records], abs=1e-3)
    assert min(r.mass_g for r in records) >= 2.0


def test_images_show_the_scene(bag):
    """Colour images are neither black nor still, and depth is mostly valid."""
    images = [m.data.reshape(120, 240, 3) for _, m in bag["/camera/color/image_raw"]]
    assert images[0].mean() > 20
    assert np.abs(images[0].astype(int) - images[150]).mean() > 5
    depth_m = bag["/camera/depth/image_raw"][0][1].data.view(np.uint16) * TASK.cameras["camera_0"].depth_scale_m
    assert (depth_m > 0.05).mean() > 0.9


def test_a_missing_bag_is_made_again_bit_for_bit(recording, tmp_path):
    """After an interruption only what is missing is recorded, and one process makes what two made."""
    output = tmp_path / "again"
    shutil.copytree(recording[0], output)
    before = snapshot(output)
    kept_ns = (output / "rosbag_0" / "rosbag_0_0.mcap").stat().st_mtime_ns
    shutil.rmtree(output / "rosbag_1")
    (output / ".partial-rosbag_1").mkdir()
    record.record_demonstrations(output, 2, first_seed=5, workers=1)
    assert (output / "rosbag_0" / "rosbag_0_0.mcap").stat().st_mtime_ns == kept_ns
    assert snapshot(output) == before


def test_a_failed_demonstration_is_replaced_and_logged(short_demonstration, tmp_path, caplog):
    """The seed whose scene the expert spoils is named, and its index gets another scene."""
    short_demonstration.add(1)
    with caplog.at_level(logging.WARNING):
        records = record.record_demonstrations(tmp_path, 3, workers=1)
    assert [r.seed for r in records] == [0, 1 + record.RETRY_STRIDE, 2]
    assert "seed 1 is not recorded" in caplog.text


def test_an_expert_that_always_fails_is_an_error(short_demonstration, tmp_path):
    """The recorder gives up with the seeds it tried, and no bag."""
    short_demonstration.update(attempt * record.RETRY_STRIDE for attempt in range(record.MAX_ATTEMPTS))
    with pytest.raises(SimulationError, match="bag 0"):
        record.record_demonstrations(tmp_path, 1, workers=1)
    assert not (tmp_path / "rosbag_0").exists()


def test_bags_of_other_seeds_are_not_mixed_in(short_demonstration, tmp_path):
    """A folder recorded from another first seed is refused by name."""
    record.record_demonstrations(tmp_path, 1, first_seed=0, workers=1)
    with pytest.raises(SimulationError, match="seed 0, which does not belong to first seed 3"):
        record.record_demonstrations(tmp_path, 2, first_seed=3, workers=1)


def test_wished_masses_are_drawn_kept_and_not_mixed(short_demonstration, tmp_path):
    """Each scene has its own; a recording goes on with the same range only, and without one none is written."""
    records = record.record_demonstrations(tmp_path / "wished", 2, workers=1, mass_range_g=(1.0, 4.5))
    assert records[0].wished_g != records[1].wished_g
    assert all(1.0 <= one.wished_g <= 4.5 and one.mass_g == one.wished_g for one in records)
    again = record.record_demonstrations(tmp_path / "wished", 3, workers=1, mass_range_g=(1.0, 4.5))
    assert again[:2] == records
    for other in (None, (1.0, 4.0)):
        with pytest.raises(SimulationError, match=r"rosbag_0, recorded with a wished mass of .* the same mass range"):
            record.record_demonstrations(tmp_path / "wished", 3, workers=1, mass_range_g=other)
    record.record_demonstrations(tmp_path / "full", 1, workers=1)
    with np.load(tmp_path / "full" / "truth" / "0.npz") as truth:
        assert sorted(truth) == ["header_ns", "mass_g", "seed", "stage"]


def test_a_crash_while_recording_leaves_no_half_bag(short_demonstration, tmp_path, monkeypatch):
    """What was complete stays, with its mass; the rest is made by the next run."""

    def crash(*args):
        raise OSError(28, "No space left on device")

    record.record_demonstrations(tmp_path, 1, workers=1)
    with monkeypatch.context() as patch:
        patch.setattr(record.Renderer, "render", crash)
        with pytest.raises(OSError, match="No space"):
            record.record_demonstrations(tmp_path, 2, workers=1)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data.csv", "rosbag_0", "truth"]
    assert len((tmp_path / "data.csv").read_text().splitlines()) == 2
    record.record_demonstrations(tmp_path, 2, workers=1, storage="db3")
    assert (tmp_path / "rosbag_1" / "rosbag_1_0.db3").is_file()
