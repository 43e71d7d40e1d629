"""Fewer messages for a while."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable
from contextlib import contextmanager


@contextmanager
def quieter(names: Iterable[str], level: int) -> Generator[None, None, None]:
    """Only messages of a level and above from these loggers; whoever called goes on as before."""
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(level)
    try:
        yield
    finally:
        for logger, kept in zip(loggers, before, strict=True):
            logger.setLevel(kept)
