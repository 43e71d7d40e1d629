"""Every video of an episode decodes to the number of frames that its stamps say."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError
from numpy.typing import NDArray

from ladle.episode import depth_video_name, video_name
from ladle.task import TaskConfig

UNDECODABLE = (FFmpegError, OSError, ValueError)


def video_faults(folder: Path, stamps: Mapping[str, NDArray[Any]], task: TaskConfig) -> Iterator[str]:
    """One sentence for each video that is missing, cannot be decoded, or has not one frame per stamp."""
    for key, camera in task.extracted_cameras.items():
        expected = len(stamps[f"header_ns_{key}"])
        for file in (f"{video_name(key)}.mp4", *([_depth_video(folder, key, task)] if camera.kind == "depth" else [])):
            if not (folder / file).is_file():
                yield f"the video {file} is missing"
                continue
            try:
                count = count_frames(folder / file)
            except UNDECODABLE as error:
                yield f"the video {file} cannot be decoded: {error}"
                continue
            if count != expected:
                yield f"the video {file} decodes to {count} frames, its stamps are {expected}"


def _depth_video(folder: Path, key: str, task: TaskConfig) -> str:
    """What the task asks for, unless the episode is from before there was a choice."""
    asked, older = (depth_video_name(key, codec) for codec in (task.depth_codec, "ffv1"))
    return older if (folder / older).is_file() and not (folder / asked).is_file() else asked


def count_frames(path: Path) -> int:
    """How many frames of the first video stream can be decoded. Raises FFmpegError on damage, ValueError on none."""
    with av.open(str(path)) as container:
        if not container.streams.video:
            raise ValueError("it has no video stream")
        container.streams.video[0].thread_type = "AUTO"
        return sum(1 for _ in container.decode(video=0))
