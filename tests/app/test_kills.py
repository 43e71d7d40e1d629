"""Kills at random moments, and the proof that the proof can fail."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from app.benchmarks import killing
from app.benchmarks.kills import KillCount, Scene, expect_undisturbed, run_kills
from ladle.episode import LABELS_FILE, EpisodeFolder
from ladle.errors import LadleError


@pytest.mark.slow
def test_nothing_is_lost_by_kills_and_a_loss_would_be_seen(tmp_path: Path) -> None:
    """A few kills of each kind find no fault; afterwards a flipped bit, a lost label and a rest are each found."""
    count = run_kills(tmp_path, kills=6, seed=3)
    assert count.faults == []
    assert (count.extraction, count.replacement, count.conversion) == (4, 1, 1)
    scene = Scene(tmp_path, 1.0, 1.0, 1.0)
    _plant_and_expect(scene, lambda work: _flip(work / "videos/1/1.mp4"), ["differ from", "has changed"])
    _plant_and_expect(scene, lambda work: (work / ".old-x.zarr").mkdir(), ["left"])
    _plant_and_expect(scene, lambda work: np.save(EpisodeFolder(work).action_folder(2) / LABELS_FILE, np.zeros(3, int)),
                      ["differ from", "labels for"])


def _plant_and_expect(scene: Scene, plant, found: list[str]) -> None:
    work = scene.root / "work"
    shutil.rmtree(work)
    shutil.copytree(scene.converted, work)
    plant(work)
    count = KillCount()
    expect_undisturbed(work, scene.converted, count)
    for words in found:
        assert any(words in fault for fault in count.faults), count.faults


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_child_that_outlives_its_parent_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof sees what it is there to see, and ends it."""
    (tmp_path / "orphan_maker.py").write_text("import subprocess, time\nfrom pathlib import Path\ndef main():\n"
                                              "    subprocess.Popen(['sleep', '60'])\n"
                                              "    Path(__file__).with_suffix('.started').touch()\n"
                                              "    time.sleep(60)\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(killing, "ORPHAN_TIMEOUT_S", 0.1)
    command = killing.Command("orphan_maker", (), tmp_path / "log.txt")
    process = killing.start(command)
    try:
        while not (tmp_path / "orphan_maker.started").exists():
            process.join(0.01)
            assert process.exitcode is None, command.log.read_text()
        process.kill()
        process.join()
        with pytest.raises(LadleError, match="1 processes of orphan_maker outlived it"):
            killing.expect_no_child(process, command)
    finally:
        killing.kill(process)
    killing.expect_no_child(process, command)
