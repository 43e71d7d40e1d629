"""Cut recordings into episodes: bags -> actions/, videos/, numpy/, frames/, stamps/.

    python read_sensors_utils/format_data_replay_buffer.py --path-load recordings --path-save dataset
    python read_sensors_utils/format_data_replay_buffer.py --path-save dataset --annotations

The second line only brings labels to the ticks, after annotator/annotator_parsor.py.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ladle.errors import ConfigError
from ladle.script import run_script
from ladle.task import load_task
from read_sensors_utils.annotations import bring_labels_to_ticks
from read_sensors_utils.extract_all import DEFAULT_WORKERS, NO_PATH_LOAD, extract_and_tell


def main(arguments: list[str] | None = None) -> None:
    """Parse the command line and extract, or only interpolate labels."""
    options = _parser().parse_args(arguments)
    task = load_task(options.task)
    path_save = Path(options.path_save).expanduser()
    if options.annotations:
        bring_labels_to_ticks(path_save, task)
        return
    if options.path_load is None:
        raise ConfigError(NO_PATH_LOAD)
    if options.workers < 1:
        raise ConfigError(f"--workers {options.workers} cannot work; expected 1 or more")
    extract_and_tell(Path(options.path_load).expanduser(), path_save, task, override=options.override,
                     workers=options.workers, ray_address=options.ray, definitions=options.msg)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--path-load", help="folder of recordings (0/rosbag_0.bag, rosbag_00/rosbag_00_0.db3, "
                                            "rosbag_0/*.mcap), or one recording")
    parser.add_argument("--path-save", required=True, help="folder of episodes")
    parser.add_argument("--task", default="scoop", help="name of a task or path of a task file (default: scoop)")
    parser.add_argument("--override", action="store_true", help="extract complete episodes again; labels are kept")
    parser.add_argument("--annotations", action="store_true", help="only bring the labels to the ticks")
    parser.add_argument("--msg", type=Path, action="append", default=[], metavar="PATH",
                        help="folder or .msg file with types that the recordings do not define; may be repeated")
    parser.add_argument("--workers", type=int, default=DEFAULT_WORKERS, help="cores to use (default: all)")
    parser.add_argument("--ray", metavar="ADDRESS", help="spread the recordings over this Ray cluster (host:port, "
                                                        "auto), or over a new one on this machine (local)")
    return parser


if __name__ == "__main__":
    run_script(main)
