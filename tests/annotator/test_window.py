import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from annotator import frames as frames_module
from annotator.annotator_parsor import episodes_to_label
from annotator.display import require_display
from annotator.frames import VideoFrames
from annotator.labels import BACK, PLAY, QUIT, Labeller
from annotator.window import DONE, annotated_view, key_name
from ladle.episode import EpisodeFolder
from ladle.errors import DeploymentError, EpisodeError

SCRIPT = Path(__file__).parents[2] / "annotator" / "annotator_parsor.py"


@pytest.mark.parametrize(("code", "name"), [
    (-1, None), (ord("0"), "0"), (ord("2"), "2"), (ord("3"), None), (0xFFB1, "1"), (0x100000 | ord("1"), "1"),
    (0xFF51, BACK), (0x250000, BACK), (8, BACK), (32, PLAY), (ord("q"), QUIT), (27, QUIT), (13, DONE), (0xFFE1, None),
])
def test_key_codes_become_keys(code: int, name: str | None) -> None:
    """Digits of both blocks, arrows of Linux and Windows and modifier bits are understood; -1 is no key."""
    assert key_name(code, 3) == name


def test_no_screen_is_one_clear_error() -> None:
    """Without DISPLAY, or with one at which nobody answers, the error comes before OpenCV could abort."""
    if sys.platform in ("win32", "darwin"):
        pytest.skip("screens are asked for on Linux only")
    with pytest.raises(DeploymentError, match="DISPLAY is not set"):
        require_display({})
    with pytest.raises(DeploymentError, match="nothing answers at DISPLAY=:987"):
        require_display({"DISPLAY": ":987"})


def test_the_view_shows_the_frame_in_bgr_above_its_status() -> None:
    """A red RGB frame is red on the screen: OpenCV wants it as BGR."""
    red = np.zeros((12, 24, 3), np.uint8)
    red[..., 0] = 255
    view = annotated_view(red, "episode 0", Labeller(3, 2), ("a", "b"))
    assert view[0, 0].tolist() == [0, 0, 255]
    assert view.shape[1] >= 640
    assert view[-60:].any()


def make_video(path: Path, n_frames: int) -> None:
    """A lossy video whose frame i has grey level 10 i."""
    path.parent.mkdir(parents=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "10", "g": "2"})
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for i in range(n_frames):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 10 * i, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize("cached_frames", [4, 96])
def test_frames_are_found_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cached_frames: int) -> None:
    """Forwards, backwards and jumping, within the cache and beyond it, index i gives frame i."""
    monkeypatch.setattr(frames_module, "CACHED_FRAMES", cached_frames)
    make_video(tmp_path / "videos" / "1.mp4", 24)
    with VideoFrames(tmp_path / "videos" / "1.mp4") as frames:
        assert len(frames) == 24
        for i in [0, 1, 2, 23, 22, 3, 12, 0, 23]:
            assert abs(float(frames[i].mean()) - 10 * i) < 4


def test_the_window_never_meets_pyav() -> None:
    """OpenCV's first window hangs in a process that imported PyAV, so nothing of the annotator may import it."""
    program = "import sys, annotator.annotator_parsor, annotator.window; sys.exit('av' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_missing_video_is_named(tmp_path: Path) -> None:
    """A video that is not there, or not a video, is an error with its path."""
    (tmp_path / "1.mp4").write_bytes(b"nothing")
    for path in (tmp_path / "0.mp4", tmp_path / "1.mp4"):
        with pytest.raises(EpisodeError, match=path.name):
            VideoFrames(path)


def episodes(root: Path, *numbers: int) -> EpisodeFolder:
    """A folder with complete episodes as far as the annotator looks."""
    for n in numbers:
        (root / "actions" / str(n)).mkdir(parents=True)
        (root / "actions" / str(n) / "episode.json").write_text("{}")
        make_video(root / "videos" / str(n) / "1.mp4", 3)
    return EpisodeFolder(root)


def test_skip_leaves_out_what_is_labelled(tmp_path: Path) -> None:
    """Episodes come in numeric order; --skip leaves out labelled ones; --episode picks one."""
    folder = episodes(tmp_path, 10, 2, 0)
    np.save(tmp_path / "actions" / "2" / "annotations_video.npy", np.zeros(3, np.int64))
    assert episodes_to_label(folder, skip=False, episode=None) == [0, 2, 10]
    assert episodes_to_label(folder, skip=True, episode=None) == [0, 10]
    assert episodes_to_label(folder, skip=False, episode=2) == [2]
    with pytest.raises(EpisodeError, match=r"no episode 1 .* there are 0, 2, 10"):
        episodes_to_label(folder, skip=False, episode=1)


def test_the_script_ends_in_one_line_without_a_screen(tmp_path: Path) -> None:
    """Run from another folder without DISPLAY: exit code 2, one line, no abort and no traceback."""
    if sys.platform in ("win32", "darwin"):
        pytest.skip("screens are asked for on Linux only")
    episodes(tmp_path, 0)
    environment = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    for root, reason in ((tmp_path, "DISPLAY is not set"), (tmp_path / "nowhere", "no episodes in")):
        done = subprocess.run([sys.executable, str(SCRIPT), "--folder-to-parse", str(root)], cwd=tmp_path,
                              env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 2, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
        assert reason in done.stderr
