"""Messages one by one and several at once: one becomes the other."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

import numpy as np

from read_sensors_utils.storage.ordering import MAX_RUN
from read_sensors_utils.storage.records import Channel, MessageRun, RawMessage


def runs_joined(messages: Iterable[RawMessage], runs: Collection[int]) -> Iterator[RawMessage]:
    """The messages, those of these channels joined to a MessageRun where they follow each other in one length."""
    held: list[bytes] = []
    stamps: list[int] = []
    channel: Channel | None = None
    for message in messages:
        data = message.data
        if held and (message.channel is not channel or len(data) != len(held[0]) or len(held) == MAX_RUN):
            assert channel is not None
            yield _joined(channel, stamps, held)
            held, stamps = [], []
        if message.channel.key in runs and type(data) is bytes:
            channel = message.channel
            held.append(data)
            stamps.append(message.receive_ns)
        else:
            yield message
    if held:
        assert channel is not None
        yield _joined(channel, stamps, held)


def one_by_one(message: RawMessage) -> Iterator[RawMessage]:
    """The messages of a run; any other message as it is."""
    run = message.data
    if isinstance(run, MessageRun):
        for receive_ns, row in zip(run.receive_ns.tolist(), run.table, strict=True):
            yield RawMessage(message.channel, receive_ns, row.tobytes())
    else:
        yield message


def _joined(channel: Channel, stamps_ns: list[int], messages: list[bytes]) -> RawMessage:
    if len(messages) == 1:
        return RawMessage(channel, stamps_ns[0], messages[0])
    table = np.frombuffer(b"".join(messages), np.uint8).reshape(len(messages), len(messages[0]))
    return RawMessage(channel, stamps_ns[0], MessageRun(np.array(stamps_ns, np.int64), table))
