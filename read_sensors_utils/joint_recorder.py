"""The joints of one topic while its recording is replayed."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from itertools import groupby, pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ladle.errors import BagError
from ladle.joints_by_name import Believable
from ladle.sensor_config import JointsConfig
from read_sensors_utils.decode import header_ns, is_unnamed, joint_positions, why_no_joints
from read_sensors_utils.joint_layout import JointLayouts, JointSample
from read_sensors_utils.message_types import Decoder
from read_sensors_utils.storage.records import MessageRun

ENOUGH_WAITING = 512

Stamps = NDArray[np.int64]
MessageStamps = tuple[Stamps, Stamps]


class WaitingJoints(NamedTuple):
    """A message, or a run of them, whose joints are read later, together with others."""

    layouts: JointLayouts
    data: bytes | MessageRun


class JointRecorder:
    """Collects the joints of one topic, by name.

    Attributes:
        header_ns, receive_ns: one entry per usable message.
        skipped: how many messages did not tell all joints: lacking or doubled names, numbers that cannot be.
        reason: why the last of them was skipped.
    """

    def __init__(self, config: JointsConfig, topic: str, believable: Believable | None = None) -> None:
        self._config, self._topic, self._believable = config, topic, believable
        self.header_ns: list[int] = []
        self.receive_ns: list[int] = []
        self._positions_rad = array("d")  # a list of lists takes five times the memory
        self.skipped = 0
        self.reason = ""
        self._waiting: list[tuple[JointLayouts, MessageRun]] = []
        self._n_waiting = 0

    @property
    def positions_rad(self) -> NDArray[np.float64]:
        """(N, n) joints of the usable messages."""
        return np.array(self._positions_rad, np.float64).reshape(-1, len(self._config.names))

    def add(self, message: Any, stamp_ns: int, receive_ns: int) -> bool:
        """Take in a message; False if it cannot be used.

        Raises:
            BagError: it has the right number of positions but no names, and the task file does not allow that.
        """
        names, ordered = self._config.names, self._config.order_when_unnamed
        positions = joint_positions(message, names, order_when_unnamed=ordered, believable=self._believable)
        if positions is None:
            if not ordered and is_unnamed(message, len(names)):
                raise BagError(f"{self._topic}: a joint state holds {len(names)} positions and no names, so nobody "
                               "knows which is which; let its publisher fill in name, or set "
                               "joints.order_when_unnamed: true in the task file if they are in the order of "
                               "joints.names")
            self.skipped += 1
            self.reason = why_no_joints(message, names, self._believable)
            return False
        self.take(JointSample(stamp_ns, tuple(positions.tolist())), receive_ns)
        return True

    def fast_decoder(self, decode: Decoder, may_wait: Callable[[], bool]) -> Decoder:
        """Of the topic's decoder one that gives WaitingJoints while it may, else a JointSample where that is enough."""
        names, ordered = self._config.names, self._config.order_when_unnamed
        layouts = JointLayouts(decode, lambda message: joint_positions(message, names, order_when_unnamed=ordered),
                               self._believable)

        def read(data: bytes | memoryview | MessageRun) -> Any:
            if isinstance(data, MessageRun):
                return WaitingJoints(layouts, data) if may_wait() else None
            return WaitingJoints(layouts, bytes(data)) if may_wait() else layouts(data)

        return read

    def wait(self, joints: WaitingJoints, receive_ns: int) -> bool:
        """Keep what is to be read with others; True when there is enough of it."""
        run = joints.data
        if not isinstance(run, MessageRun):
            run = MessageRun(np.array([receive_ns], np.int64), np.frombuffer(run, np.uint8).reshape(1, -1))
        self._waiting.append((joints.layouts, run))
        self._n_waiting += len(run.receive_ns)
        return self._n_waiting >= ENOUGH_WAITING

    def take_waiting(self, leave_out: Callable[[str, int, BagError], None]) -> Iterator[MessageStamps]:
        """Take in what waits, in order; (header, receive) stamps in ns of the messages that can be used.

        Args:
            leave_out: told topic, receive stamp and reason of a message that cannot be decoded.

        Raises:
            BagError: as `add`.
        """
        waiting, self._waiting, self._n_waiting = self._waiting, [], 0
        for (layouts, _), group in groupby(waiting, key=lambda item: (item[0], item[1].table.shape[1])):
            runs = [run for _, run in group]
            receive_ns = np.concatenate([run.receive_ns for run in runs])
            yield from self._taken(layouts, np.concatenate([run.table for run in runs]), receive_ns, leave_out)

    def _taken(self, layouts: JointLayouts, table: NDArray[np.uint8], receive_ns: Stamps,
               leave_out: Callable[[str, int, BagError], None]) -> Iterator[MessageStamps]:
        """Of (N, length) messages those that are read together as far as they go, each of the others by itself."""
        are_read, stamps_ns, positions_rad = layouts.read_table(table)
        for begin, end in pairwise([0, *(np.flatnonzero(np.diff(are_read)) + 1).tolist(), len(table)]):
            if are_read[begin]:
                self.header_ns += stamps_ns[begin:end].tolist()
                self.receive_ns += receive_ns[begin:end].tolist()
                self._positions_rad.frombytes(positions_rad[begin:end].astype(np.float64).tobytes())
                yield stamps_ns[begin:end], receive_ns[begin:end]
                continue
            for row, received_ns in zip(table[begin:end], receive_ns[begin:end].tolist(), strict=True):
                try:
                    message = layouts(row.tobytes())
                except BagError as error:
                    leave_out(self._topic, received_ns, error)
                    continue
                if isinstance(message, JointSample):
                    self.take(message, received_ns)
                elif not self.add(message, header_ns(message), received_ns):
                    continue
                yield np.array(self.header_ns[-1:], np.int64), np.array([received_ns], np.int64)

    def take(self, sample: JointSample, receive_ns: int) -> None:
        """Take in joints that are known already."""
        self.header_ns.append(sample.stamp_ns)
        self.receive_ns.append(receive_ns)
        self._positions_rad.extend(sample.positions_rad)
