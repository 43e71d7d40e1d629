"""The straightforward extraction: rosbags deserialises every message, OpenCV does the images, one process.

It makes the same product as Ladle with the same alignment, kinematics and file formats, frame by frame in one loop, as
one would write it first. OpenCV and FFmpeg use all cores as they please. Lossless depth is ffv1, the one codec in which
`cv2.VideoWriter` keeps 16 bits; to tell what the codec alone is worth, it can be Ladle's own through PyAV instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import zarr
from numpy.typing import NDArray
from rosbags.highlevel import AnyReader

from ladle.episode import EpisodeFolder, EpisodeWriter, depth_video_name, video_name
from ladle.images import depth_view
from ladle.sensor_config import CameraConfig
from ladle.task import DepthCodec, TaskConfig
from read_sensors_utils.bags import Bag
from read_sensors_utils.camera_recorder import CameraRecorder, frames_compressor
from read_sensors_utils.extract import write_episode
from read_sensors_utils.find_bags import find_bags
from read_sensors_utils.frame_worker import FrameWorkers
from read_sensors_utils.replay import Replay
from read_sensors_utils.streams import find_topics, read_chain
from read_sensors_utils.videos import VideoWriter


def extract_plainly(path: Path, task: TaskConfig, output: Path, *, same_codec: bool = False) -> None:
    """Extract the one recording at the path into a folder of episodes.

    Args:
        same_codec: write the lossless depth with the task's codec, not with OpenCV's.
    """
    [source] = find_bags(path)
    folder = EpisodeFolder(output)
    with Bag(source) as bag, closing(FrameWorkers(processes=1)) as workers:
        topics = find_topics(bag, task)
        chain = read_chain(bag, task)
        with folder.writer(source.number) as writer:
            replay = PlainReplay(bag, task, topics, writer, workers, same_codec)
            replay.run()
            write_episode(replay, chain, None, None, writer)


class PlainReplay(Replay):
    """The same bookkeeping over messages that rosbags reads, and cameras without any thread of ours."""

    def __init__(self, bag: Bag, task: TaskConfig, topics: Any, writer: EpisodeWriter, workers: FrameWorkers,
                 same_codec: bool) -> None:
        super().__init__(bag, task, topics, writer, workers)
        codec = task.depth_codec if same_codec else None
        self.cameras = {key: PlainCamera(key, task.cameras[key], topic, writer, workers, codec)
                        for key, topic in topics.cameras.items()}

    def messages(self, topics: Iterable[str]) -> Iterator[tuple[str, int, Any]]:
        """What rosbags makes of the recording."""
        wanted = set(topics)
        with AnyReader([self.bag.source.path]) as reader:
            for connection, receive_ns, raw in reader.messages():
                message = reader.deserialize(raw, connection.msgtype)
                if connection.topic in wanted:
                    yield connection.topic, receive_ns, message


class PlainCamera(CameraRecorder):
    """Resizes every frame and hands it to OpenCV's video writer; the frames of the ticks are kept till the end."""

    def __init__(self, key: str, camera: CameraConfig, topic: str, writer: EpisodeWriter,
                 workers: FrameWorkers, codec: DepthCodec | None) -> None:
        """codec: of the lossless depth, through PyAV; None for OpenCV's."""
        super().__init__(key, camera, topic, writer, workers)
        self._codec: DepthCodec | None = codec
        self._frames_path = writer.frames
        self._folder = writer.folder("videos")
        self._first_image = writer.folder("numpy") / f"{video_name(key)}.npy"
        self._small: NDArray[Any] = np.empty(0)
        self._shown: NDArray[Any] = np.empty(0)
        self._tick_images: list[NDArray[Any]] = []
        self._view: cv2.VideoWriter | None = None
        self._lossless: cv2.VideoWriter | None = None
        self._same_codec: VideoWriter | None = None

    def add(self, message: Any, header_ns: int, receive_ns: int) -> bool:
        """Take in the next frame; frames come in order."""
        dtype, channels = (np.uint8, 3) if self.camera.kind == "color" else (np.uint16, 1)
        image = message.data.view(dtype).reshape(message.height, message.width, channels).squeeze()
        self.source_size_px = (message.width, message.height)
        average = cv2.INTER_AREA if self.camera.kind == "color" else cv2.INTER_NEAREST
        size_px = (self.camera.width_px, self.camera.height_px)
        self._small = image if image.shape[1::-1] == size_px else np.asarray(cv2.resize(image, size_px,
                                                                                        interpolation=average))
        self._write(self._small)
        self.header_ns.append(header_ns)
        self.receive_ns.append(receive_ns)
        self._newest = len(self.header_ns) - 1
        return True

    def tick(self) -> None:
        """Keep the newest frame."""
        self.tick_frames.append(self._newest)
        self._tick_images.append(self._small)

    def finish(self, n_ticks: int) -> None:
        """Write the frames of the ticks."""
        del self.tick_frames[n_ticks:]
        group = zarr.open_group(self._frames_path, mode="a", zarr_format=2)
        group.create_array(self.camera.ticks_key or self.key, data=np.stack(self._tick_images[:n_ticks]),
                           compressors=frames_compressor())
        self.abort()

    def abort(self) -> None:
        """Close the videos."""
        for video in (self._view, self._lossless):
            if video is not None:
                video.release()
        if self._same_codec is not None:
            self._same_codec.close()

    def _write(self, image: NDArray[Any]) -> None:
        depth = self.camera.kind == "depth"
        view = depth_view(image, self.camera) if depth else np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        if self._view is None:
            self._open(image, view)
        assert self._view is not None
        self._view.write(view)
        if self._lossless is not None:
            self._lossless.write(image)
        if self._same_codec is not None:
            self._same_codec.write(image)

    def _open(self, image: NDArray[Any], view: NDArray[Any]) -> None:
        size_px = (image.shape[1], image.shape[0])
        name, rate_hz = video_name(self.key), self.camera.rate_hz
        self._view = cv2.VideoWriter(str(self._folder / f"{name}.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), rate_hz,
                                     size_px, view.ndim == 3)
        np.save(self._first_image, view)
        if self.camera.kind == "depth" and self._codec is not None:
            self._same_codec = VideoWriter(self._folder / depth_video_name(self.key, self._codec), self._codec, rate_hz)
        elif self.camera.kind == "depth":
            lossless = [cv2.VIDEOWRITER_PROP_DEPTH, cv2.CV_16U, cv2.VIDEOWRITER_PROP_IS_COLOR, 0]
            self._lossless = cv2.VideoWriter(str(self._folder / depth_video_name(self.key, "ffv1")), cv2.CAP_FFMPEG,
                                             cv2.VideoWriter.fourcc(*"FFV1"), rate_hz, size_px, lossless)
