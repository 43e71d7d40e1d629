"""Label the colour videos of a folder of episodes, frame by frame.

    python annotator/annotator_parsor.py --folder-to-parse data/episodes --skip
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from annotator.frames import VideoFrames
from annotator.store import LabelStore, Sitting
from ladle.episode import EpisodeFolder
from ladle.errors import EpisodeError, LabelError
from ladle.script import run_script
from ladle.task import TaskConfig, load_task

log = logging.getLogger("ladle.annotator")

DEFAULT_FRAME_RATE_HZ = 30.0


def episodes_to_label(folder: EpisodeFolder, *, skip: bool, episode: int | None) -> list[int]:
    """Numbers of the episodes to show, in order. Raises EpisodeError when there is none at all, or not that one."""
    numbers = folder.numbers()
    if not numbers:
        raise EpisodeError(f"no episodes in {folder.root}; "
                           "make them with read_sensors_utils/format_data_replay_buffer.py")
    if episode is not None:
        if episode not in numbers:
            raise EpisodeError(f"no episode {episode} in {folder.root}; there are {', '.join(map(str, numbers))}")
        numbers = [episode]
    if skip:
        numbers = [n for n in numbers if not LabelStore(folder.action_folder(n)).is_complete]
    return numbers


def annotate(folder: EpisodeFolder, task: TaskConfig, *, skip: bool, episode: int | None) -> None:
    """Show one video after the other until all are labelled or the user quits."""
    if task.stages is None:
        raise LabelError(f"task {task.name!r} has no stages to label; add `stages:` to its file or pass another --task")
    numbers = episodes_to_label(folder, skip=skip, episode=episode)
    if not numbers:
        log.info("nothing to do: every episode in %s is labelled", folder.root)
        return
    from annotator.window import LabelWindow  # opens a GUI toolkit: only once there is something to show

    rates_hz = [camera.rate_hz for camera in task.extracted_cameras.values() if camera.kind == "color"]
    window = LabelWindow(task.stages.names, rates_hz[0] if rates_hz else DEFAULT_FRAME_RATE_HZ)
    try:
        for n in numbers:
            with VideoFrames(folder.video(n, task.labelled_camera)) as frames:
                sitting = Sitting(LabelStore(folder.action_folder(n)), len(frames), len(task.stages.names))
                go_on = window.label(f"episode {n}", frames, sitting)
            log.info("episode %d: %d of %d frames labelled", n, sitting.labeller.cursor, sitting.labeller.n_frames)
            if not go_on:
                return
    finally:
        window.close()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Label the colour videos of a folder of episodes, frame by frame.")
    parser.add_argument("--folder-to-parse", type=Path, required=True, help="folder with actions/ and videos/")
    parser.add_argument("--skip", action="store_true", help="leave out videos that are labelled already")
    parser.add_argument("--episode", type=int, default=None, help="only the episode of this number")
    parser.add_argument("--task", default="scoop", help="task name or file: its stages are the labels")
    options = parser.parse_args()
    run_script(lambda: annotate(EpisodeFolder(options.folder_to_parse), load_task(options.task),
                                skip=options.skip, episode=options.episode))


if __name__ == "__main__":
    main()
