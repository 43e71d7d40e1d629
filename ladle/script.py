"""How every script ends: a user's error in one line with exit code 2, a bug with its traceback."""

from __future__ import annotations

import errno
import logging
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from ladle.errors import LadleError

log = logging.getLogger("ladle")

USER_ERROR_EXIT_CODE = 2
FULL = (errno.ENOSPC, errno.EDQUOT)
FORBIDDEN = (errno.EROFS, errno.EACCES, errno.EPERM)  # the last for files that are marked immutable
OUR_LOGGERS = (
    "ladle", "ladle_nodes", "training", "simulation", "read_sensors_utils", "annotator", "analysis", "app",
    "real_world_deployment",
)


def run_script(function: Callable[[], object]) -> None:
    """Run a script's main; a LadleError, or a folder that cannot be made or written, is one line and exit code 2."""
    set_up_logging()
    try:
        function()
    except LadleError as error:
        log.error("%s", one_line(error))
        sys.exit(USER_ERROR_EXIT_CODE)
    except OSError as error:
        if error.errno in (*FULL, *FORBIDDEN):
            remedy = "free some space or" if error.errno in FULL else "check the rights or"
        elif _no_folder_to_be(error):
            remedy = "no folder can be made there;"
        else:
            raise
        log.error("%s: %s; %s choose another folder, then run the same command again",
                  error.filename or "writing", error.strerror, remedy)
        sys.exit(USER_ERROR_EXIT_CODE)
    except KeyboardInterrupt:
        log.error("interrupted; run the same command again to go on")
        sys.exit(130)


def _no_folder_to_be(error: OSError) -> bool:
    """Whether the system refused to make a folder at a path of the user's; any other missing file is a bug."""
    if error.errno == errno.ENAMETOOLONG:
        return True
    if error.errno == errno.EEXIST and Path(str(error.filename)).is_dir():
        return False
    return error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EEXIST) and _raised_by_mkdir(error)


def _raised_by_mkdir(error: OSError) -> bool:
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    last = frames[-1]
    module = str(last.f_globals.get("__name__", "")).partition(".")[0]
    return module in {"pathlib", "os"} and last.f_code.co_name in {"mkdir", "makedirs"}


def set_up_logging() -> None:
    """Messages go to stderr, one line each; of other people's libraries only warnings."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname).1s %(name)s: %(message)s", stream=sys.stderr)
    for name in OUR_LOGGERS:
        logging.getLogger(name).setLevel(logging.INFO)


def one_line(error: BaseException) -> str:
    """The error's message without line breaks."""
    return " ".join(str(error).split())
