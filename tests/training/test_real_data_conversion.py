"""Episodes -> replay buffer."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from numcodecs import get_codec
from zarr.storage import ZipStore

from ladle.episode import EEF_FILE, TARGET_FILE, EpisodeFolder
from ladle.errors import EpisodeError, LabelError
from ladle.images import depth_view
from ladle.replay_buffer import ReplayBuffer
from ladle.task import TaskConfig, load_task, task_text
from training.interop.convert import convert
from training.real_data_conversion import convert_episodes

SCRIPT = Path(__file__).parents[2] / "training" / "real_data_conversion.py"
SCOOP_KEYS = {"camera_0", "camera_1", "depth_0", "eef", "label", "mass", "action"}


def write_scoop(folder: EpisodeFolder, n: int, steps: int) -> None:
    """A complete labelled episode of which every stream says the episode and the tick."""
    with folder.writer(n, override=True) as writer:
        save_common(writer, load_task("scoop"), steps, 7)
        poses = np.tile([0, 0, 0, 0, 0, 0, 1.0], (steps, 1))
        poses[:, 0] = n + np.arange(steps) / 100
        np.save(writer.folder("actions") / EEF_FILE, poses)
        np.save(writer.folder("actions") / TARGET_FILE, poses + np.eye(7)[0] * 0.01)
        np.savetxt(writer.folder("actions") / "mass.txt", np.stack([np.arange(steps), np.full(steps, 3.5 + n)], 1))
        np.save(writer.folder("actions") / "annotations_video_interpolated.npy", np.arange(steps) % 3)
        frames = zarr.open_group(writer.frames, mode="w", zarr_format=2)
        frames.create_array("camera_1", data=np.full((steps, 120, 240, 3), n, np.uint8))
        frames.create_array("depth_0", data=np.full((steps, 120, 240), 1000 + n, np.uint16))


def save_common(writer: Any, task: TaskConfig, steps: int, n_joints: int) -> None:
    """Stamps, joints and episode.json."""
    decision_s = np.arange(steps) * 0.1 + 0.05
    joints = np.tile(np.arange(n_joints) * 0.1, (steps, 1))
    np.savez(writer.stamps, decision_s=decision_s, observation_s=decision_s, joints=joints, target_joints=joints + 1)
    (writer.folder("actions") / "episode.json").write_text(json.dumps({"task": task_text(task)}))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Episodes 10, 0 and 2, written in this order."""
    root = tmp_path_factory.mktemp("episodes")
    for n, steps in ((10, 6), (0, 4), (2, 5)):
        write_scoop(EpisodeFolder(root), n, steps)
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    """A copy of the episodes to break."""
    return Path(shutil.copytree(made, tmp_path / "episodes"))


def test_episodes_are_converted_in_the_order_of_their_numbers(root: Path) -> None:
    """Numbers with gaps, found in any order: each row holds the streams of one episode and never of two."""
    buffer = ReplayBuffer.open(convert_episodes(root))
    assert set(buffer.keys()) == SCOOP_KEYS
    assert buffer.meta["episodes"] == [0, 2, 10]
    assert buffer.episode_ends.tolist() == [4, 9, 15]
    for i, n in enumerate((0, 2, 10)):
        rows = buffer.episode_slice(i)
        assert np.all(buffer["camera_1"][rows] == n)
        assert np.all(buffer["depth_0"][rows] == 1000 + n)
        np.testing.assert_allclose(buffer["mass"][rows], 3.5 + n)
        np.testing.assert_allclose(buffer["eef"][rows][0, 0], n)
        np.testing.assert_allclose(buffer["action"][rows] - buffer["eef"][rows], [[0.01, 0, 0, 0, 0, 0, 0]] * len(
            buffer["eef"][rows]), atol=1e-6)
        np.testing.assert_array_equal(buffer["label"][rows][:, 0], np.arange(rows.stop - rows.start) % 3)


@pytest.mark.parametrize("name", ["scoop.zarr.zip", "scoop.hdf5", "scoop"])
def test_episodes_go_straight_into_other_formats(root: Path, tmp_path: Path, name: str) -> None:
    """With all that the replay buffer holds."""
    ours = ReplayBuffer.open(convert_episodes(root))
    back = ReplayBuffer.open(convert(convert(root, tmp_path / name), tmp_path / "back.zarr"))
    assert back.meta == ours.meta
    assert back.keys() == ours.keys()
    assert all(back[key][:].tobytes() == ours[key][:].tobytes() for key in SCOOP_KEYS)


def test_camera_0_is_the_depth_view_three_times(root: Path) -> None:
    """The original layout's camera_0 is what ladle.images makes of the ticks, in three equal channels."""
    buffer = ReplayBuffer.open(convert_episodes(root))
    expected = depth_view(np.asarray(buffer["depth_0"][:]), load_task("scoop").cameras["camera_0"])
    for channel in range(3):
        np.testing.assert_array_equal(buffer["camera_0"][:][..., channel], expected)


def test_shapes_and_types_are_those_of_the_original(root: Path) -> None:
    """Images uint8 (N, H, W, 3), ticks uint16, low dimensions float32 in two axes."""
    buffer = ReplayBuffer.open(convert_episodes(root))
    described = {key: (buffer[key].shape, str(buffer[key].dtype)) for key in buffer.keys()}  # noqa: SIM118
    assert described == {
        "camera_0": ((15, 120, 240, 3), "uint8"), "camera_1": ((15, 120, 240, 3), "uint8"),
        "depth_0": ((15, 120, 240), "uint16"), "eef": ((15, 7), "float32"), "action": ((15, 7), "float32"),
        "label": ((15, 1), "float32"), "mass": ((15, 1), "float32"),
    }


def test_a_plain_reader_of_zarr_2_understands_it(root: Path) -> None:
    """With nothing but the format-2 metadata and the Blosc codec, chunks decode to the same numbers."""
    path = convert_episodes(root)
    buffer = ReplayBuffer.open(path)
    for key in ("data/eef", "data/camera_1", "meta/episode_ends"):
        header = json.loads((path / key / ".zarray").read_text())
        assert header["zarr_format"] == 2
        assert header["compressor"]["id"] == "blosc"
        assert not header["filters"]
        chunk = path / key / ".".join("0" for _ in header["shape"])
        raw = get_codec(header["compressor"]).decode(chunk.read_bytes())
        values = np.frombuffer(raw, header["dtype"]).reshape(header["chunks"])[: header["shape"][0]]
        whole = buffer.episode_ends if key.startswith("meta") else buffer[key.removeprefix("data/")][:]
        np.testing.assert_array_equal(values, whole[: len(values)])
    for folder in (path, path / "data", path / "meta"):
        assert json.loads((folder / ".zgroup").read_text()) == {"zarr_format": 2}


def test_folder_and_zip_open_as_the_diffusion_policy_code_opens_them(root: Path) -> None:
    """zarr.open on the folder, ZipStore on the .zip: data/* all as long as the last of meta/episode_ends."""
    path = convert_episodes(root, make_zip=True)
    archive = path.with_name("replay_buffer.zarr.zip")
    for source in (zarr.open(str(path), mode="r"), zarr.open_group(ZipStore(archive, mode="r"), mode="r")):
        assert isinstance(source, zarr.Group)
        assert source.metadata.zarr_format == 2
        ends = np.asarray(source["meta"]["episode_ends"][:])  # pyright: ignore
        assert ends.dtype == np.int64
        lengths = {key: array.shape[0] for key, array in source["data"].arrays()}  # pyright: ignore
        assert lengths == dict.fromkeys(SCOOP_KEYS, ends[-1])
        np.testing.assert_array_equal(source["data"]["camera_1"][:, 0, 0, 0], [0] * 4 + [2] * 5 + [10] * 6)  # pyright: ignore


def test_faulty_episodes_are_all_named_and_nothing_is_written(root: Path) -> None:
    """A half-made and an unlabelled episode are refused by number; no buffer and no rest of one appears."""
    (root / "actions" / "0" / "episode.json").unlink()
    (root / "actions" / "10" / "annotations_video_interpolated.npy").unlink()
    with pytest.raises(EpisodeError, match=r"2 of the episodes .*episode 0: .*episode 10: it has no labels"):
        convert_episodes(root)
    assert not [p for p in root.iterdir() if "zarr" in p.name]


def test_faulty_episodes_are_skipped_on_request_and_pairs_stay_right(root: Path) -> None:
    """Leaving one out shifts nothing: the rows after it still belong together."""
    (root / "actions" / "2" / "annotations_video_interpolated.npy").unlink()
    buffer = ReplayBuffer.open(convert_episodes(root, skip_incomplete=True))
    assert buffer.meta["episodes"] == [0, 10]
    np.testing.assert_array_equal(buffer["camera_1"][:, 0, 0, 0], [0] * 4 + [10] * 6)
    np.testing.assert_allclose(buffer["mass"][:][:, 0], [3.5] * 4 + [13.5] * 6)


@pytest.mark.parametrize(("breakage", "message"), [
    (lambda action: np.save(action / EEF_FILE, np.zeros((3, 7))), "share one clock"),
    (lambda action: (action / TARGET_FILE).unlink(), "no poses"),
    (lambda action: (action / TARGET_FILE).write_bytes(b"cut off"), "is damaged"),
    (lambda action: (action / "mass.txt").unlink(), "mass is None"),
    (lambda action: shutil.rmtree(action.parents[1] / "frames" / "2.zarr"), "frames/2.zarr/.* is missing"),
    (lambda action: np.save(action / "annotations_video_interpolated.npy", np.full(5, 3)), "label 3, expected 0 to 2"),
])
def test_every_kind_of_fault_is_named(root: Path, breakage: Any, message: str) -> None:
    """Each missing or inconsistent part is one error with the episode's number."""
    breakage(root / "actions" / "2")
    with pytest.raises((EpisodeError, LabelError), match=f"episode 2: .*{message}"):
        convert_episodes(root)


def test_an_old_buffer_survives_a_refusal(root: Path) -> None:
    """A buffer that was made before stays as it was when a later conversion is refused."""
    path = convert_episodes(root)
    (root / "actions" / "2" / "annotations_video_interpolated.npy").unlink()
    with pytest.raises(LabelError):
        convert_episodes(root)
    assert ReplayBuffer.open(path).meta["episodes"] == [0, 2, 10]


def test_nothing_but_an_older_buffer_is_replaced(root: Path, tmp_path: Path) -> None:
    """An output that holds the episodes, or that another program wrote, is refused before anything is done."""
    lab = tmp_path / "lab"
    shutil.copytree(root, lab / "episodes")
    (lab / "bags").mkdir()
    (lab / "bags/x.mcap").write_bytes(b"recorded once")
    theirs = lab / "theirs.zarr"
    zarr.open_group(theirs, mode="w", zarr_format=2).create_group("data")
    (lab / "free.zarr.zip").write_bytes(b"an archive")
    before = {path: path.read_bytes() for path in lab.rglob("*") if path.is_file()}
    for output, said in ((lab, "would go with it"), (lab / "episodes", "would go with it"), (theirs, "not made by"),
                         (lab / "bags", "x.mcap"), (lab / "free.zarr", "not made by Ladle")):
        done = subprocess.run([sys.executable, str(SCRIPT), "--dataset-path", str(lab / "episodes"), "--output",
                               str(output), "--zip"], capture_output=True, text=True, check=False)
        assert done.returncode == 2, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        assert said in done.stderr
    assert {path: path.read_bytes() for path in lab.rglob("*") if path.is_file()} == before


def test_an_older_buffer_and_its_zip_are_replaced(root: Path) -> None:
    """By the second conversion of the same folder."""
    convert_episodes(root, make_zip=True)
    shutil.rmtree(root / "actions/10")
    path = convert_episodes(root, make_zip=True, skip_incomplete=True)
    for made in (path, path.with_name("replay_buffer.zarr.zip")):
        assert ReplayBuffer.open(made).meta["episodes"] == [0, 2]


def test_episodes_of_different_tasks_do_not_mix(root: Path) -> None:
    """Two tasks in one folder are named instead of being put into one buffer."""
    other = task_text(load_task("scoop")).replace("rate_hz: 10.0", "rate_hz: 20.0", 1)
    (root / "actions" / "10" / "episode.json").write_text(json.dumps({"task": other}))
    with pytest.raises(EpisodeError, match=r"episodes 0 .* and 10 .* different tasks"):
        convert_episodes(root)


def test_episodes_with_joints_alone_are_converted(tmp_path: Path) -> None:
    """Without frames, cameras and stages the buffer holds joints and the next joints as the action."""
    with EpisodeFolder(tmp_path).writer(7) as writer:
        save_common(writer, load_task("ur3_joints"), 5, 6)
    buffer = ReplayBuffer.open(convert_episodes(tmp_path))
    assert buffer.keys() == ["action", "joints"]
    np.testing.assert_allclose(buffer["action"][:], buffer["joints"][:] + 1, atol=1e-6)
    assert buffer["joints"].shape == (5, 6)


def test_the_script_says_in_one_line_what_is_wrong(root: Path, tmp_path: Path) -> None:
    """Run from another folder: an unlabelled episode or an empty folder is exit code 2 and one line."""
    (root / "actions" / "2" / "annotations_video_interpolated.npy").unlink()
    for folder, text in ((root, "episode 2"), (tmp_path / "nowhere", "no episodes in")):
        done = subprocess.run([sys.executable, str(SCRIPT), "--dataset-path", str(folder)], cwd=tmp_path,
                              capture_output=True, text=True, check=False)
        assert done.returncode == 2, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        assert text in done.stderr


def test_a_chunk_that_cannot_be_decoded_is_one_line(root: Path, tmp_path: Path) -> None:
    """It names the episode, the frames and the remedy; nothing is written."""
    chunk = next(path for path in sorted((root / "frames").rglob("*")) if path.is_file() and path.name[0].isdigit())
    chunk.write_bytes(b"no chunk")
    with pytest.raises(EpisodeError, match=r"episode \d+: its frames .* cannot be decoded .*ladle repair"):
        convert_episodes(root, tmp_path / "a.zarr")
    assert not (tmp_path / "a.zarr").exists()


@pytest.mark.parametrize("row", ["0 nan", "0 inf"])
def test_a_mass_that_is_no_number_is_named(root: Path, row: str) -> None:
    """It would make every loss that it touches no number either."""
    (root / "actions/2/mass.txt").write_text(f"{row}\n" * 5)
    with pytest.raises(EpisodeError, match="episode 2: its scooped mass is"):
        convert_episodes(root)


def test_a_target_that_is_not_finite_is_named(root: Path) -> None:
    """The action is what is learnt."""
    path = root / "actions/2" / TARGET_FILE
    poses = np.load(path)
    poses[3, 1] = np.nan
    np.save(path, poses)
    with pytest.raises(EpisodeError, match="episode 2: its target are not finite"):
        convert_episodes(root)


def test_episodes_with_other_joints_than_the_task_are_named(tmp_path: Path) -> None:
    """One more, as a gripper's, would be learnt as the arm's."""
    for steps, n_joints in ((4, 6), (5, 7)):
        with EpisodeFolder(tmp_path).writer(n_joints) as writer:
            save_common(writer, load_task("ur3_joints"), steps, n_joints)
    with pytest.raises(EpisodeError, match="episode 7: it has 7 joints, expected 6"):
        convert_episodes(tmp_path)
