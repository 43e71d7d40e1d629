"""The frames of an episode are whole, or it is not loaded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import zarr

from ladle.episode import EpisodeFolder
from ladle.errors import EpisodeError


def test_an_episode_that_lost_frames_is_not_loaded(tmp_path: Path) -> None:
    """A chunk that is gone would be converted as black frames; one of zeros that never had a file is no loss."""
    folder = EpisodeFolder(tmp_path)
    frames = np.repeat(np.arange(2, dtype=np.uint8), [2, 3])[:, None, None] * np.ones((5, 4, 6), np.uint8)
    with folder.writer(0) as writer:
        decision = np.arange(5) * 0.1 + 0.05
        np.savez(writer.stamps, decision_s=decision, observation_s=decision, joints=np.zeros((5, 7)),
                 target_joints=np.zeros((5, 7)))
        zarr.open_group(writer.frames, mode="w", zarr_format=2).create_array("depth_0", data=frames, chunks=(2, 4, 6))
        (writer.folder("actions") / "episode.json").write_text(json.dumps({"index": 0}))
    assert not (tmp_path / "frames/0.zarr/depth_0/0.0.0").exists()
    assert np.array_equal(np.asarray(folder.load(0).frames["depth_0"][:]), frames)
    (tmp_path / "frames/0.zarr/depth_0/1.0.0").unlink()
    with pytest.raises(EpisodeError, match=r"episode 0 .* frames/0.zarr/depth_0/1.0.0 is missing; .*--override"):
        folder.load(0)
