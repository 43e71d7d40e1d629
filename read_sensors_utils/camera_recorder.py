"""One camera while its recording is replayed: every frame into the videos, the frame of every tick kept lossless.

Sizes, encoders and files are the business of the workers' lanes. Memory holds what the workers allow to wait, a few
frames that wait for the frame rate to be known, and one block of ticks.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from numcodecs import Blosc
from numpy.typing import NDArray

from ladle.episode import EpisodeWriter, depth_video_name, video_name
from ladle.errors import BagError
from ladle.images import depth_view, to_task_size
from ladle.sensor_config import CameraConfig
from ladle.task import DepthCodec
from read_sensors_utils.decode import decode_image
from read_sensors_utils.frame_worker import FrameWorkers
from read_sensors_utils.image_layout import ImageLayout, RawImage
from read_sensors_utils.message_types import Decoder
from read_sensors_utils.storage.source import LeftArray
from read_sensors_utils.videos import VideoWriter, smaller_view

FRAMES_TO_MEASURE_RATE = 16
BLOCK_BYTES = 4_000_000
MAX_TICKS_A_BLOCK = 64
# How much work they are at 30 frames and 10 ticks a second.
VIDEOS_WEIGHT, TICKS_WEIGHT = 4.0, {"color": 1.5, "depth": 0.5}


class CameraRecorder:
    """Takes frames and ticks in the order of receipt.

    Attributes:
        header_ns, receive_ns: stamps of the frames so far.
        tick_frames: index of the frame shown at each tick so far.
        source_size_px: (width, height) of the sensor's images; (0, 0) before the first.
        skipped: how many messages held no image that can be read.
        reason: why the first of them did not.
    """

    def __init__(self, key: str, camera: CameraConfig, topic: str, writer: EpisodeWriter, workers: FrameWorkers, *,
                 video_size: Literal["task", "source"] = "task", depth_codec: DepthCodec = "ffvhuff") -> None:
        self.key = key
        self.camera = camera
        self.topic = topic
        self.header_ns: list[int] = []
        self.receive_ns: list[int] = []
        self.tick_frames: list[int] = []
        self.source_size_px = (0, 0)
        self.skipped = 0
        self.reason = ""
        self._newest = -1
        self._newest_image: NDArray[Any] | LeftArray | None = None
        self._last_image: NDArray[Any] | LeftArray | None = None
        ticks = TickFrames(writer.frames, camera.ticks_key or key, camera)
        self._ticks = workers.lane(ticks, TICKS_WEIGHT[camera.kind])
        videos = CameraVideos(key, camera, writer, video_size, depth_codec)
        self._videos = workers.lane(videos, VIDEOS_WEIGHT)

    def add(self, message: Any, header_ns: int, receive_ns: int) -> bool:
        """Take in the next frame; False if it cannot be decoded, as if it had never been received.

        Raises:
            BagError: its size differs from the frames before.
            OSError: an earlier frame could not be written.
        """
        try:
            image = message.image if isinstance(message, RawImage) else self._image_of(message)
        except BagError as error:
            self.skipped += 1
            self.reason = self.reason or str(error)
            return False
        size_px = (int(image.shape[1]), int(image.shape[0]))
        if self.source_size_px not in ((0, 0), size_px):
            raise BagError(f"{self.topic}: the image size changes from {self.source_size_px} to {size_px} within the "
                           "recording; cut it into two")
        self.source_size_px = size_px
        self._videos.put(CameraVideos.add, image, receive_ns)
        self.header_ns.append(header_ns)
        self.receive_ns.append(receive_ns)
        self._last_image = image
        return True

    def fast_decoder(self, decode: Decoder) -> ImageLayout:
        """Of the topic's decoder one that gives a RawImage where it need not decode."""
        return ImageLayout(decode, self._image_of)

    def _image_of(self, message: Any) -> NDArray[Any]:
        return decode_image(message, self.camera, self.topic)

    def show_last(self) -> None:
        """Show the frame taken in last: no newer one is there."""
        self._newest, self._newest_image = len(self.header_ns) - 1, self._last_image

    def tick(self) -> None:
        """Keep the frame that is shown now as the next tick's."""
        assert self._newest_image is not None
        self.tick_frames.append(self._newest)
        self._ticks.put(TickFrames.append, self._newest, self._newest_image)

    def finish(self, n_ticks: int) -> None:
        """Close the files when the workers come to it; ticks beyond n_ticks are dropped."""
        del self.tick_frames[n_ticks:]
        self._ticks.put(TickFrames.finish, n_ticks)
        self._videos.put(CameraVideos.close)

    def abort(self) -> None:
        """Close what is open after an error, when the workers have ended; the files are about to be removed."""
        self._videos.target.abort()


class TickFrames:
    """Appends to one array of the episode's zarr group, block by block: key -> (T, H, W[, C]) at the task's size."""

    def __init__(self, group_path: Path, key: str, camera: CameraConfig) -> None:
        self._group = zarr.open_group(group_path, mode="a", zarr_format=2)
        self._key = key
        self._camera = camera
        self._shown = -1
        row_bytes = camera.width_px * camera.height_px * (3 if camera.kind == "color" else 2)
        self._ticks_a_block = min(max(1, BLOCK_BYTES // row_bytes), MAX_TICKS_A_BLOCK)
        self._rows: NDArray[Any] = np.empty(0)
        self._n_rows = 0
        self._blocks = 0
        self._folder = group_path / key
        self._compressor = frames_compressor()

    def append(self, frame: int, image: NDArray[Any]) -> None:
        """One more tick, which shows the frame of this number, (H, W[, C]) as the sensor gave it."""
        if frame != self._shown:
            shown = np.asarray(to_task_size(image, self._camera))
            if not self._rows.size:
                self._rows = np.zeros((self._ticks_a_block, *shown.shape), shown.dtype)
            self._rows[self._n_rows] = shown
            self._shown = frame
        else:
            self._rows[self._n_rows] = self._rows[self._n_rows - 1]  # of a block's first: the last block's last
        self._n_rows += 1
        if self._n_rows == self._ticks_a_block:
            self._flush()

    def finish(self, n_ticks: int) -> None:
        """Write what is left and declare the array, cut to n_ticks."""
        if self._n_rows:
            self._rows[self._n_rows :] = 0
            self._flush()
        if self._blocks:
            shape = self._rows.shape[1:]
            self._group.create_array(self._key, shape=(n_ticks, *shape), chunks=(self._ticks_a_block, *shape),
                                     dtype=self._rows.dtype, compressors=frames_compressor())

    def _flush(self) -> None:
        """Write the block as zarr's format 2 wants it; zarr itself takes twice as long for it."""
        self._folder.mkdir(exist_ok=True)
        name = ".".join([str(self._blocks), *("0" for _ in self._rows.shape[1:])])
        (self._folder / name).write_bytes(self._compressor.encode(self._rows))
        self._blocks, self._n_rows = self._blocks + 1, 0


def frames_compressor() -> Any:
    """LZ4 after bit shuffling: a tenth of the time of the replay buffer's Zstandard, for a fifth more bytes."""
    return Blosc(cname="lz4", clevel=5, shuffle=Blosc.BITSHUFFLE)


class CameraVideos:
    """videos/N/<i>.mp4 (and <i>_depth.avi or .mkv) and numpy/N/<i>.npy, where i is the number in the camera's key."""

    def __init__(self, key: str, camera: CameraConfig, writer: EpisodeWriter,
                 video_size: Literal["task", "source"], depth_codec: DepthCodec) -> None:
        self._camera = camera
        self._at_task_size = video_size == "task"
        self._name = video_name(key)
        self._depth_name = depth_video_name(key, depth_codec)
        self._depth_codec: DepthCodec = depth_codec
        self._videos = writer.folder("videos")
        self._first_images = writer.folder("numpy")
        self._waiting: list[tuple[NDArray[Any], int]] | None = []
        self._view: VideoWriter | None = None
        self._ticks: VideoWriter | None = None

    def add(self, image: NDArray[Any], receive_ns: int) -> None:
        """One more frame, (H, W[, 3]) as the sensor gave it; raises OSError when it cannot be written."""
        sized = self._sized(image)
        if self._waiting is None:
            self._write(sized)
            return
        self._waiting.append((sized.copy(), receive_ns))
        if len(self._waiting) == FRAMES_TO_MEASURE_RATE:
            self._start()

    def close(self) -> None:
        """Write what is left and end the files; raises OSError."""
        if self._waiting:
            self._start()
        for video in (self._view, self._ticks):
            if video is not None:
                video.close()

    def abort(self) -> None:
        """Let go of the files as they are."""
        for video in (self._view, self._ticks):
            if video is not None:
                video.abort()

    def _sized(self, image: NDArray[Any]) -> NDArray[Any]:
        if not self._at_task_size:
            return image
        if self._camera.kind == "depth":
            return np.asarray(to_task_size(image, self._camera))
        return smaller_view(image, self._camera.width_px, self._camera.height_px)

    def _start(self) -> None:
        waiting, self._waiting = self._waiting or [], None
        stamps_ns = np.array([receive_ns for _, receive_ns in waiting], np.int64)
        period_ns = float(np.median(np.diff(stamps_ns))) if len(stamps_ns) > 1 else 0.0
        rate_hz = round(1e9 / period_ns, 1) if period_ns > 0 else self._camera.rate_hz
        is_depth = self._camera.kind == "depth"
        self._view = VideoWriter(self._videos / f"{self._name}.mp4", "libx264", rate_hz)
        if is_depth:
            self._ticks = VideoWriter(self._videos / self._depth_name, self._depth_codec, rate_hz)
        first = waiting[0][0]
        shown = np.repeat(depth_view(first, self._camera)[..., None], 3, axis=2) if is_depth else first
        np.save(self._first_images / f"{self._name}.npy", shown)
        for image, _ in waiting:
            self._write(image)

    def _write(self, image: NDArray[Any]) -> None:
        assert self._view is not None
        self._view.write(image if self._ticks is None else depth_view(image, self._camera))
        if self._ticks is not None:
            self._ticks.write(image)
