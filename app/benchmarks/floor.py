"""What extraction cannot go below: reading the file, and resizing and encoding frames that are there already."""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import zarr
from numpy.typing import NDArray

from app.benchmarks.recording import CAMERA_HZ, CAMERAS, DISTINCT_FRAMES, color_frames, depth_frames
from ladle.episode import EpisodeWriter
from ladle.task import TaskConfig
from read_sensors_utils.camera_recorder import CameraVideos, TickFrames

READ_BYTES = 4_000_000


def frames_of_cameras(distinct_frames: int = DISTINCT_FRAMES) -> list[tuple[str, NDArray[Any]]]:
    """Camera key and (n, H, W[, 3]) frames, colour and depth by turns, as the recording has them."""
    makers = (color_frames, depth_frames, color_frames, depth_frames)
    return [(key, make(seed, distinct_frames)) for seed, (key, make) in enumerate(zip(CAMERAS, makers, strict=True))]


def run_floor(files: list[Path], task: TaskConfig, frames: list[tuple[str, NDArray[Any]]], seconds: float) -> None:
    """Read the files and write frames of so many seconds of recording, on two threads without any exchange."""
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as threads:
        writer = EpisodeWriter(Path(folder), 0)
        zarr.open_group(writer.frames, mode="a", zarr_format=2)  # here, for two threads would make it at once
        halves = (frames[:2], frames[2:])
        done = [threads.submit(_half, half, files, n, writer, task, seconds) for n, half in enumerate(halves)]
        for future in done:
            future.result()


def _half(cameras: list[tuple[str, NDArray[Any]]], files: list[Path], half: int, writer: EpisodeWriter,
          task: TaskConfig, seconds: float) -> None:
    for file in files:
        _read_half(file, half)
    for key, frames in cameras:
        camera = task.cameras[key]
        videos = CameraVideos(key, camera, writer, task.video_size, task.depth_codec)
        ticks = TickFrames(writer.frames, camera.ticks_key or key, camera)
        frames_a_tick = round(CAMERA_HZ / task.rate_hz)
        for n in range(int(seconds * CAMERA_HZ)):
            image = frames[n % len(frames)]
            videos.add(image, n * 1_000_000_000 // CAMERA_HZ)
            if n % frames_a_tick == 0:
                ticks.append(n, image)
        ticks.finish(int(np.ceil(seconds * task.rate_hz)))
        videos.close()


def _read_half(file: Path, half: int) -> None:
    middle, end = file.stat().st_size // 2, file.stat().st_size
    left = (middle, end - middle)[half]
    buffer = bytearray(READ_BYTES)
    with file.open("rb", buffering=0) as opened:
        opened.seek(half * middle)
        while left > 0 and (got := opened.readinto(buffer)):
            left -= got
