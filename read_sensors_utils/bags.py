"""One recording of any kind: its files put together, its messages decoded, and an account of what could not be read.

One broken file, topic or message never costs the recording: it is left out, counted, and named in the log when the
recording is closed.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import Any

from ladle.errors import BagError
from read_sensors_utils.find_bags import BagSource, missing_files
from read_sensors_utils.message_types import Decoder, MessageTypes
from read_sensors_utils.storage.compressed_file import unpacked
from read_sensors_utils.storage.message_runs import one_by_one
from read_sensors_utils.storage.opening import open_storage
from read_sensors_utils.storage.packed_messages import are_packed, plain
from read_sensors_utils.storage.records import Channel, Losses, MessageRun, RawMessage, Storage

log = logging.getLogger("ladle.bags")

@dataclass(frozen=True)
class TopicInfo:
    """What a recording says about a topic: its message type in ROS 2 style and how many messages there are."""

    type_name: str
    count: int


@dataclass(frozen=True)
class Skipped:
    """Messages that were met and could not be decoded: how many, and why the first one could not."""

    count: int
    reason: str


class Bag:
    """An open recording. Use as a context manager.

    `definitions` are folders or .msg files of packages whose types the recording does not define.

    Attributes:
        topics: topic -> type and message count.
        start_ns, end_ns: receive stamps of the first and the last message.
        skipped: topic -> messages of the latest pass over it that could not be decoded.
        backsteps: topic -> messages that a file holds after one of the topic with a later receive stamp.
    """

    def __init__(self, source: BagSource, definitions: Iterable[Path] = ()) -> None:
        self.source = source
        self.topics: dict[str, TopicInfo] = {}
        self.start_ns = 0
        self.end_ns = 0
        self.skipped: dict[str, Skipped] = {}
        self.backsteps: dict[str, int] = {}
        self._types = MessageTypes(definitions)
        self._storages: list[Storage] = []
        self._names: list[str] = []
        self._own_losses = Losses()
        self._stack = ExitStack()

    def __enter__(self) -> Bag:
        """Open the files.

        Raises:
            BagError: empty, or nothing in it can be read.
        """
        try:
            self._open()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        if kind is None:
            self._report()

    @property
    def losses(self) -> Losses:
        """What damage has taken, as far as known; grows while messages are read."""
        total = Losses(reasons=list(self._own_losses.reasons))
        for name, storage in zip(self._names, self._storages, strict=True):
            lost = storage.losses
            total.bytes, total.chunks, total.messages = (
                total.bytes + lost.bytes, total.chunks + lost.chunks, total.messages + lost.messages)
            total.reasons += [f"{name}: {reason}" if len(self.source.files) > 1 else reason for reason in lost.reasons]
        return total

    def has(self, topic: str) -> bool:
        """Whether there is at least one message on the topic."""
        return topic in self.topics and self.topics[topic].count > 0

    def topic_list(self) -> str:
        """What is there, for messages."""
        listed = ", ".join(f"{name} ({info.type_name})" for name, info in sorted(self.topics.items()) if info.count)
        return listed or "no topics"

    def can_decode(self, topic: str) -> bool:
        """Whether the topic's type is defined in the recording or known without it."""
        try:
            for _, channel in self._channels({topic}):
                self._types.decoder(channel)
        except BagError:
            return False
        return topic in self.topics

    def decoder(self, topic: str) -> Decoder:
        """The function that decodes one raw message of the topic; it raises BagError for one that it cannot decode.

        Raises:
            BagError: no such topic, its type is not known, or the recording's files define it differently.
        """
        found = [self._types.decoder(channel) for _, channel in self._channels({topic})]
        if not found:
            raise BagError(f"{self.source.name}: no topic {topic}; it has {self.topic_list()}")
        if any(other is not found[0] for other in found):
            raise BagError(f"{self.source.name}: its files define {self.topics[topic].type_name} of {topic} "
                           "differently; extract them as separate recordings")
        return found[0]

    def messages(self, topics: Iterable[str], through: Mapping[str, Callable[[Decoder], Any]] | None = None,
                 left: Collection[str] = (), runs: Collection[str] = ()) -> Iterator[tuple[str, int, Any]]:
        """(topic, receive stamp in ns, message) of the topics, in the order of receipt.

        A message that cannot be decoded is left out and counted in `skipped`.

        Args:
            through: topic -> what makes a faster decoder out of the topic's own.
            left: topics whose faster decoder can do with LeftBytes, for messages that may stay in the file.
            runs: topics whose faster decoder takes a MessageRun, to come with its last stamp, or gives None for one
                whose messages are to come one by one.

        Raises:
            BagError: a file cannot be read any further.
        """
        wanted = set(topics)
        for topic in wanted:
            self.skipped.pop(topic, None)
        yield from self._decoded(wanted, self._skip, through or {}, left, runs)

    def raw(self, topics: Iterable[str]) -> Iterator[tuple[str, int, bytes | memoryview]]:
        """(topic, receive stamp in ns, bytes) of the topics, in the order of receipt; see `decoder`.

        Raises:
            BagError: a file cannot be read any further.
        """
        wanted = set(topics)
        for topic in wanted:
            self.skipped.pop(topic, None)
        yield from self._converted(wanted, plain, self._skip)

    def first(self, topic: str) -> Any:
        """First message on the topic that can be decoded; check `has` before.

        Raises:
            BagError: there is none.
        """
        faults = [self._decoder_or_reason(channel) for _, channel in self._channels({topic})]
        if faults and all(isinstance(fault, BagError) for fault in faults):
            raise BagError(f"{self.source.name}: {topic} cannot be decoded: {faults[0]}")
        reasons: list[str] = []
        for _, _, message in self._decoded({topic}, lambda _, reason: reasons.append(reason), {}):
            return message
        if reasons:
            raise BagError(f"{self.source.name}: of {len(reasons)} messages on {topic} none can be decoded: the first "
                           f"{reasons[0]}")
        raise BagError(f"{self.source.name}: no message on {topic}; it has {self.topic_list()}")

    def _open(self) -> None:
        if not self.source.files:
            raise BagError(f"{self.source.path} holds a metadata.yaml but no .db3 or .mcap file; copy it again")
        faults = [fault for path in self.source.files if (fault := self._open_one(path)) is not None]
        if not self._storages:
            raise faults[0]
        for fault in faults:
            self._own_losses.add(str(fault))
        for name in missing_files(self.source):
            self._own_losses.add(f"{name}, which metadata.yaml lists, is missing; copy it again")
        for storage, channel in self._channels(None):
            known = self.topics.get(channel.topic)
            count = storage.counts.get(channel.key, 0)
            type_name = known.type_name if known and (known.count or not count) else channel.type_name
            self.topics[channel.topic] = TopicInfo(type_name, count + (known.count if known else 0))
            steps = storage.backsteps.get(channel.key, 0)
            if steps:
                self.backsteps[channel.topic] = self.backsteps.get(channel.topic, 0) + steps
        filled = [storage for storage in self._storages if any(storage.counts.values())]
        if not filled:
            reasons = "; ".join(self.losses.reasons)
            raise BagError(f"{self.source.path} is empty: it holds no messages{' that can be read' if reasons else ''}"
                           f"{f' ({reasons})' if reasons else ''}; delete it or record it again")
        self.start_ns = min(storage.start_ns for storage in filled)
        self.end_ns = max(storage.end_ns for storage in filled)

    def _open_one(self, path: Path) -> BagError | None:
        """Open one file; what speaks against it is returned, because the others may be sound."""
        damage = Losses()
        try:
            storage = open_storage(self._stack.enter_context(unpacked(path, damage)))
        except BagError as error:
            return error
        self._stack.callback(storage.close)
        for reason in damage.reasons:
            storage.losses.add(reason)
        self._storages.append(storage)
        self._names.append(path.name)
        return None

    def _channels(self, topics: set[str] | None) -> list[tuple[Storage, Channel]]:
        return [(storage, channel) for storage in self._storages for channel in storage.channels
                if topics is None or channel.topic in topics]

    def _merged(self, topics: set[str], left: Collection[str], runs: Collection[str]) -> Iterator[RawMessage]:
        streams: list[Iterator[RawMessage]] = []
        filled = [storage for storage, channel in self._channels(topics) if storage.counts.get(channel.key, 0)]
        runs = runs if len({id(storage) for storage in filled}) == 1 else ()  # of several files' messages take turns
        for storage in self._storages:
            keys = [channel.key for channel in storage.channels
                    if channel.topic in topics and storage.counts.get(channel.key, 0)]
            if keys:
                every = len(keys) == sum(count > 0 for count in storage.counts.values())
                stay, run = ([c.key for c in storage.channels if c.topic in some] for some in (left, runs))
                streams.append(storage.messages(None if every else keys, stay, run))
        return streams[0] if len(streams) == 1 else heapq.merge(*streams, key=attrgetter("receive_ns"))

    def _decoded(
        self, topics: set[str], skip: Callable[[str, str], None], through: Mapping[str, Callable[[Decoder], Any]],
        left: Collection[str] = (), runs: Collection[str] = ()
    ) -> Iterator[tuple[str, int, Any]]:
        decoders: dict[int, Any] = {}
        for _, channel in self._channels(topics):
            decode = self._decoder_or_reason(channel)
            if channel.topic in through and not isinstance(decode, BagError):
                decode = through[channel.topic](decode)
            decoders[id(channel)] = decode

        def decoded(message: RawMessage) -> Any:
            decode, data = decoders[id(message.channel)], message.data
            if isinstance(data, MessageRun):
                return None if isinstance(decode, BagError) or are_packed(message, data) else decode(data)
            if isinstance(decode, BagError):
                raise decode
            return decode(plain(message))

        return self._converted(topics, decoded, skip, left, runs)

    def _converted(
        self, topics: set[str], convert: Callable[[RawMessage], Any], skip: Callable[[str, str], None],
        left: Collection[str] = (), runs: Collection[str] = ()
    ) -> Iterator[tuple[str, int, Any]]:
        for met in self._merged(topics, left, runs):
            topic, messages = met.channel.topic, (met,)
            if isinstance(met.data, MessageRun):
                if (together := convert(met)) is not None:
                    yield topic, int(met.data.receive_ns[-1]), together
                    continue
                messages = one_by_one(met)
            for message in messages:
                receive_ns = message.receive_ns
                try:
                    converted = convert(message)
                except BagError as error:
                    skip(topic, _told(receive_ns, error))
                else:
                    yield topic, receive_ns, converted

    def _decoder_or_reason(self, channel: Channel) -> Decoder | BagError:
        try:
            return self._types.decoder(channel)
        except BagError as error:
            return error

    def leave_out(self, topic: str, receive_ns: int, error: BagError) -> None:
        """Count a message in `skipped` that whoever reads the bag could not decode."""
        self._skip(topic, _told(receive_ns, error))

    def _skip(self, topic: str, reason: str) -> None:
        known = self.skipped.get(topic)
        self.skipped[topic] = Skipped(known.count + 1, known.reason) if known else Skipped(1, reason)

    def _report(self) -> None:
        losses = self.losses
        if losses:
            log.warning("%s is damaged: %s (lost as far as known: %d messages, %d chunks, %d bytes); the rest was read",
                        self.source.name, "; ".join(losses.reasons), losses.messages, losses.chunks, losses.bytes)
        for topic, skipped in sorted(self.skipped.items()):
            log.warning("%s: %d messages on %s were left out: the first %s",
                        self.source.name, skipped.count, topic, skipped.reason)


def _told(receive_ns: int, error: BagError) -> str:
    return f"(received at {receive_ns} ns) {error}"
