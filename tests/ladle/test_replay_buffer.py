"""The replay buffer on disk."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from ladle import atomic, replay_buffer
from ladle.errors import ReplayBufferError
from ladle.replay_buffer import ReplayBuffer, ReplayBufferWriter, zip_replay_buffer


def write(path: Path, lengths: tuple[int, ...] = (3, 5)) -> None:
    """A small buffer whose rows count up."""
    with ReplayBufferWriter(path, {"task": "x"}) as writer:
        for n in lengths:
            image = np.full((n, 4, 6, 3), n, np.uint8)
            writer.append_episode({"camera_1": image, "eef": np.arange(n * 7, dtype=np.float32).reshape(n, 7)})


@pytest.mark.parametrize("zipped", [False, True])
def test_what_was_written_is_read_from_folder_and_zip(tmp_path: Path, zipped: bool) -> None:
    """Rows, ends and meta come back."""
    path = tmp_path / "a.zarr"
    write(path)
    buffer = ReplayBuffer.open(zip_replay_buffer(path) if zipped else path)
    assert buffer.keys() == ["camera_1", "eef"]
    assert buffer.episode_ends.tolist() == [3, 8]
    assert buffer.meta == {"task": "x"}
    rows = buffer["camera_1"][buffer.episode_slice(1)]
    assert rows.shape == (5, 4, 6, 3)
    assert np.all(rows == 5)


def test_the_original_code_can_read_it(tmp_path: Path) -> None:
    """Format 2 with a codec that every zarr has, groups data and meta."""
    write(tmp_path / "a.zarr")
    root = zarr.open_group(tmp_path / "a.zarr", mode="r")
    assert root.metadata.zarr_format == 2
    assert '"id": "blosc"' in (tmp_path / "a.zarr/data/eef/.zarray").read_text()


def test_a_failure_leaves_the_old_buffer_and_nothing_half_written(tmp_path: Path) -> None:
    """An exception in the middle of writing changes nothing."""
    path = tmp_path / "a.zarr"
    write(path)
    with pytest.raises(RuntimeError), ReplayBufferWriter(path, {}) as writer:
        writer.append_episode({"eef": np.zeros((2, 7), np.float32)})
        raise RuntimeError
    assert ReplayBuffer.open(path).n_steps == 8
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


@pytest.mark.parametrize(("names", "said"), [
    (("lab/episodes/actions/0/mass.txt", "lab/bags/x.mcap"), "holds bags, episodes, which belong to no replay buffer"),
    (("lab/.zgroup", "lab/data/notes.txt"), "was not made by Ladle"),
    (("lab/.zgroup", "lab/.zattrs", "lab/.old/x"), "holds .old"),
    (("lab",), "is a file"),
])
def test_only_a_buffer_of_ladles_is_replaced(tmp_path: Path, names: tuple[str, ...], said: str) -> None:
    """People's folders, files and other programs' buffers stay as they are, and so does what was set aside of them."""
    for name in (*names, ".old-lab/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(ReplayBufferError, match=said):
        write(tmp_path / "lab")
    (tmp_path / "link").symlink_to(tmp_path / "lab")
    with pytest.raises(ReplayBufferError, match=said):
        write(tmp_path / "link")
    (tmp_path / "link").unlink()
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_what_was_set_aside_is_not_replaced_either_unless_it_is_ladles(tmp_path: Path) -> None:
    """It takes its place again first; then it is there, and no staging folder is."""
    (tmp_path / ".old-lab").mkdir()
    (tmp_path / ".old-lab/x").write_text("x")
    with pytest.raises(ReplayBufferError, match="holds x"):
        write(tmp_path / "lab")
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["lab", "lab/x"]


def test_streams_of_different_lengths_are_refused(tmp_path: Path) -> None:
    """Arrays that do not share one clock never reach the disk."""
    with pytest.raises(ReplayBufferError, match="'eef': 2"), ReplayBufferWriter(tmp_path / "a.zarr", {}) as writer:
        writer.append_episode({"eef": np.zeros((2, 7)), "action": np.zeros((3, 7))})
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_replay_buffer_is_named(tmp_path: Path) -> None:
    """The message says what is missing."""
    (tmp_path / "b.zarr").mkdir()
    with pytest.raises(ReplayBufferError, match=r"b\.zarr"):
        ReplayBuffer.open(tmp_path / "b.zarr")
    with pytest.raises(ReplayBufferError, match="no replay buffer at"):
        ReplayBuffer.open(tmp_path / "c.zarr")


def test_the_genuine_pusht_store_opens(shared_data: Path) -> None:
    """The data set of the paper: 206 episodes, 25 650 steps."""
    buffer = ReplayBuffer.open(shared_data / "pusht_cchi_v7_replay.zarr")
    assert (buffer.n_episodes, buffer.n_steps) == (206, 25650)


def test_replacing_a_buffer_leaves_one_at_every_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill at each step that changes a name: the old or the new buffer opens, and the next writer leaves no rest."""
    path = tmp_path / "a.zarr"
    for exchanges in (True, False):
        for step in range(4):
            write(path)
            with monkeypatch.context() as patched:
                _die_at(patched, step, exchanges)
                with contextlib.suppress(KeyboardInterrupt):
                    write(path, (2, 2))
            assert ReplayBuffer.open(path).n_steps in (4, 8)
            write(path, (1, 1, 1))
            assert ReplayBuffer.open(path).n_steps == 3
            assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


def _die_at(patched: pytest.MonkeyPatch, step: int, exchanges: bool) -> None:
    """After `step` changes of names, the process is as good as dead: nothing on the disk changes any more."""
    left = [step]

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            if left[0] <= 0:
                raise KeyboardInterrupt
            left[0] -= 1
            return real(*arguments, **options)
        return call

    patched.setattr(atomic, "_exchange", dying(atomic._exchange) if exchanges else lambda *_: False)
    patched.setattr(Path, "rename", dying(Path.rename))
    # Cleaning up in `finally` is what a killed process does not do.
    patched.setattr(shutil, "rmtree", dying(shutil.rmtree))


def test_two_writers_of_one_buffer_do_not_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second is refused while the first is at work."""
    monkeypatch.setattr(replay_buffer, "WAIT_FOR_WRITER_S", 0.05)
    with ReplayBufferWriter(tmp_path / "a.zarr", {}) as first:
        first.append_episode({"eef": np.zeros((2, 7), np.float32)})
        with pytest.raises(ReplayBufferError, match="another process"), ReplayBufferWriter(tmp_path / "a.zarr", {}):
            pass
    assert ReplayBuffer.open(tmp_path / "a.zarr").n_steps == 2


def test_equal_buffers_give_equal_archives(tmp_path: Path) -> None:
    """Whenever they are made; members are readable by everyone."""
    archives: list[bytes] = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "x.zarr")
        archives.append(zip_replay_buffer(tmp_path / name / "x.zarr").read_bytes())
    assert archives[0] == archives[1]


def test_writers_that_wait_for_each_other_all_finish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is done before the next begins, and none loses what it stages in."""
    monkeypatch.setattr(replay_buffer, "WAIT_FOR_WRITER_S", 120.0)  # on a loaded machine all others may come first
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda n: write(tmp_path / "a.zarr", (n,)), range(1, 13)))
    assert ReplayBuffer.open(tmp_path / "a.zarr").n_episodes == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.zarr"]


def test_a_buffer_behind_a_link_is_replaced_where_it_lies(tmp_path: Path) -> None:
    """On another disk, say; the link stays, and a path that leads nowhere yet is filled."""
    (tmp_path / "disk").mkdir()
    link = tmp_path / "a.zarr"
    link.symlink_to(tmp_path / "disk/real.zarr")
    for lengths in ((3, 5), (4,)):
        write(link, lengths)
        assert ReplayBuffer.open(link).n_steps == sum(lengths)
    assert link.is_symlink()
    assert [entry.name for entry in (tmp_path / "disk").iterdir()] == ["real.zarr"]


def black(path: Path) -> Path:
    """A buffer of zeros alone, in three chunks of pictures."""
    with ReplayBufferWriter(path, {"task": "x"}) as writer:
        for steps in (30, 10):
            writer.append_episode({"camera_1": np.zeros((steps, 240, 240, 3), np.uint8),
                                   "label": np.zeros((steps, 1), np.float32)})
    return path


@pytest.mark.parametrize("zipped", [False, True])
def test_a_buffer_that_lost_a_chunk_is_not_opened(tmp_path: Path, zipped: bool) -> None:
    """It would be trained on as black frames; one whose pictures are black has all its chunks."""
    path = black(tmp_path / "a.zarr")
    whole = ReplayBuffer.open(zip_replay_buffer(path) if zipped else path)
    assert (whole.absent_chunks(), whole.meta) == ([], {"task": "x"})
    (path / "data/camera_1/1.0.0.0").unlink()
    with pytest.raises(ReplayBufferError, match=r"data/camera_1 lacks 1 of its 4 chunks, the first one with the rows "
                                                r"11 to 21.*make it again"):
        ReplayBuffer.open(zip_replay_buffer(path) if zipped else path)


def test_a_buffer_from_before_chunks_of_zeros_were_written_stays_readable(tmp_path: Path) -> None:
    """Nothing in it says whether an absent chunk was lost; converted it says so from then on."""
    path = tmp_path / "old.zarr"
    root = zarr.open_group(path, mode="w", zarr_format=2)
    root.attrs["ladle"] = {"task": "x"}
    root.create_array("data/label", data=np.repeat([1.0, 0.0, 2.0, 0.0], 5)[:, None], chunks=(5, 1))
    root.create_array("meta/episode_ends", data=np.array([20]))
    old = ReplayBuffer.open(path)
    assert not old.names_lost_chunks
    absent, = old.absent_chunks()
    assert (absent.name, absent.absent, absent.total, absent.first, absent.last) == ("data/label", 2, 4, 5, 9)
    assert old.meta == {"task": "x"}


def test_an_attribute_of_another_program_does_no_harm(tmp_path: Path) -> None:
    """Whatever it calls by our name."""
    root = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    root.attrs["ladle"] = "soup"
    root.create_array("data/action", data=np.ones((3, 2)))
    root.create_array("meta/episode_ends", data=np.array([3]))
    assert ReplayBuffer.open(tmp_path / "a.zarr").meta == {}


@pytest.mark.parametrize(("ends", "words"), [
    ([3, 3, 8], "increase strictly"), ([5, 3, 8], "increase strictly"), ([3, 7], "must have 7 steps"),
    ([3, 9], "must have 9 steps"),
])
def test_ends_that_do_not_fit_the_rows_are_refused(tmp_path: Path, ends: list[int], words: str) -> None:
    """An empty episode, ends out of order, rows beyond the last end and an end beyond the rows."""
    write(tmp_path / "a.zarr")
    meta = zarr.open_group(tmp_path / "a.zarr" / "meta", mode="a", zarr_format=2, use_consolidated=False)
    meta.create_array("episode_ends", data=np.array(ends, np.int64), overwrite=True)
    zarr.consolidate_metadata(tmp_path / "a.zarr", zarr_format=2)
    with pytest.raises(ReplayBufferError, match=words):
        ReplayBuffer.open(tmp_path / "a.zarr")
