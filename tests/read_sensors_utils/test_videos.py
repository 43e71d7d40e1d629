"""Videos hold every frame that was written, each once."""

from __future__ import annotations

import av
import numpy as np
import pytest

from read_sensors_utils.videos import VideoWriter


def written(path, codec, frames):
    writer = VideoWriter(path, codec, 30.0)
    for frame in frames:
        writer.write(frame)
    writer.close()
    with av.open(str(path)) as container:
        return [frame.to_ndarray() for frame in container.decode(video=0)]


@pytest.mark.parametrize(("codec", "name"), [("ffvhuff", "a.avi"), ("ffv1", "a.mkv")])
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (12, 24), (121, 241)])
def test_depth_comes_back_bit_for_bit(tmp_path, codec, name, shape):
    """Noise, nothing, the largest value; odd sides; frames are not mixed up although one buffer serves all."""
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 65536, shape, np.uint16) for _ in range(5)]
    frames += [np.zeros(shape, np.uint16), np.full(shape, 65535, np.uint16)]
    found = written(tmp_path / name, codec, frames)
    assert len(found) == len(frames)
    for one, other in zip(found, frames, strict=True):
        np.testing.assert_array_equal(one, other)


def test_views_show_their_own_frame(tmp_path):
    """Grey and colour; odd sides are filled up."""
    for frames in ([np.full((11, 23), 20 * n, np.uint8) for n in range(12)],
                   [np.full((12, 24, 3), 20 * n, np.uint8) for n in range(12)]):
        found = written(tmp_path / "a.mp4", "libx264", frames)
        assert len(found) == 12
        for n, planes in enumerate(found):
            assert abs(float(planes[:12].mean()) - (16 + 20 * n * 219 / 255)) < 3


def test_a_frame_of_another_size_is_refused(tmp_path):
    """Rather than a video whose later frames all show the last one that fitted."""
    writer = VideoWriter(tmp_path / "a.mp4", "libx264", 30.0)
    writer.write(np.zeros((12, 24, 3), np.uint8))
    with pytest.raises(ValueError, match="12, 24, 3"):
        writer.write(np.zeros((12, 26, 3), np.uint8))
    writer.close()
