"""How every script ends: a user's error in one line with exit code 2, a bug with its traceback."""

from __future__ import annotations

import errno
import logging
import sys
from collections.abc import Callable

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
    """Run a script's main; a LadleError, a full disk or a missing permission is one line on stderr and exit code 2."""
    set_up_logging()
    try:
        function()
    except LadleError as error:
        log.error("%s", one_line(error))
        sys.exit(USER_ERROR_EXIT_CODE)
    except OSError as error:
        if error.errno not in (*FULL, *FORBIDDEN):
            raise
        remedy = "free some space" if error.errno in FULL else "check the rights"
        log.error("%s: %s; %s or choose another folder, then run the same command again",
                  error.filename or "writing", error.strerror, remedy)
        sys.exit(USER_ERROR_EXIT_CODE)
    except KeyboardInterrupt:
        log.error("interrupted; run the same command again to go on")
        sys.exit(130)


def set_up_logging() -> None:
    """Messages go to stderr, one line each; of other people's libraries only warnings."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname).1s %(name)s: %(message)s", stream=sys.stderr)
    for name in OUR_LOGGERS:
        logging.getLogger(name).setLevel(logging.INFO)


def one_line(error: BaseException) -> str:
    """The error's message without line breaks."""
    return " ".join(str(error).split())
