"""What every kind of recording file consists of: channels, raw messages, and what damage has taken from them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from read_sensors_utils.storage.source import LeftBytes


@dataclass(frozen=True)
class Channel:
    """One topic of one file as its writer declared it.

    Attributes:
        key: the file's own number for the channel.
        type_name: in ROS 2 style, package/msg/Type; older spellings are brought to it.
        encoding: how messages are serialised.
        definition: the message definition stored in the file, "" where there is none.
        definition_format: its language.
    """

    key: int
    topic: str
    type_name: str
    encoding: Literal["cdr", "ros1"]
    definition: str = ""
    definition_format: Literal["msg", "idl", "none"] = "none"


class MessageRun(NamedTuple):
    """Messages of one channel and one length with none of another channel between them.

    Attributes:
        receive_ns: (N,) receive stamps.
        table: (N, length) uint8, a message each.
    """

    receive_ns: NDArray[np.int64]
    table: NDArray[np.uint8]


class RawMessage(NamedTuple):
    """One message as stored, or a run of them; receive_ns is when the recorder received it, or the run's first."""

    channel: Channel
    receive_ns: int
    data: bytes | memoryview | LeftBytes | MessageRun


@dataclass
class Losses:
    """What could not be read. False when nothing was lost.

    Attributes:
        bytes: bytes of the file that are not covered by anything readable.
        chunks: chunks that were cut off or damaged.
        messages: messages known to be lost, where the file tells.
        reasons: one short sentence per kind of damage.
    """

    bytes: int = 0
    chunks: int = 0
    messages: int = 0
    reasons: list[str] = field(default_factory=list[str])

    def __bool__(self) -> bool:
        return bool(self.bytes or self.chunks or self.messages or self.reasons)

    def add(self, reason: str, *, n_bytes: int = 0, chunks: int = 0, messages: int = 0) -> None:
        """Count a loss; a reason is kept once."""
        self.bytes += n_bytes
        self.chunks += chunks
        self.messages += messages
        if reason not in self.reasons:
            self.reasons.append(reason)


class Storage(Protocol):
    """An open file. Opening reads at most its index (or scans it where that is gone); messages are read on demand.

    Attributes:
        channels: all that the file declares, also those without messages.
        counts: channel key -> readable messages, as far as is known before reading.
        start_ns, end_ns: receive stamps of the first and the last message; 0 when there is none.
        losses: grows while reading.
        backsteps: channel key -> messages that the file holds after one of the channel with a later receive stamp.
    """

    channels: list[Channel]
    counts: dict[int, int]
    start_ns: int
    end_ns: int
    losses: Losses
    backsteps: dict[int, int]

    def messages(self, keys: Collection[int] | None = None, left: Collection[int] = (),
                 runs: Collection[int] = ()) -> Iterator[RawMessage]:
        """Messages of the channels (None: all) in order of receipt; equal stamps keep the order of the file.

        Args:
            left: channels of which large messages are left in the file where that is possible.
            runs: channels of which several messages may come as one MessageRun.
        """
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...
