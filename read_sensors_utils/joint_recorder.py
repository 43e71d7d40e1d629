"""The joints of one topic while its recording is replayed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from ladle.errors import BagError
from ladle.joints_by_name import Believable
from ladle.sensor_config import JointsConfig
from read_sensors_utils.decode import header_ns, is_unnamed, joint_positions, why_no_joints
from read_sensors_utils.joint_layout import JointLayouts, JointSample
from read_sensors_utils.message_types import Decoder

ENOUGH_WAITING = 512


class WaitingJoints(NamedTuple):
    """A message whose joints are read later, together with others."""

    layouts: JointLayouts
    data: bytes


class JointRecorder:
    """Collects the joints of one topic, by name.

    Attributes:
        header_ns, receive_ns, positions_rad: one entry per usable message; (n,) joints each.
        skipped: how many messages did not tell all joints: lacking or doubled names, numbers that cannot be.
        reason: why the last of them was skipped.
    """

    def __init__(self, config: JointsConfig, topic: str, believable: Believable | None = None) -> None:
        self._config, self._topic, self._believable = config, topic, believable
        self.header_ns: list[int] = []
        self.receive_ns: list[int] = []
        self.positions_rad: list[Sequence[float]] = []
        self.skipped = 0
        self.reason = ""
        self._waiting: list[tuple[WaitingJoints, int]] = []

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
        return lambda data: WaitingJoints(layouts, bytes(data)) if may_wait() else layouts(data)

    def wait(self, joints: WaitingJoints, receive_ns: int) -> bool:
        """Keep a message that is to be read with others; True when there are enough of them."""
        self._waiting.append((joints, receive_ns))
        return len(self._waiting) >= ENOUGH_WAITING

    def take_waiting(self, leave_out: Callable[[str, int, BagError], None]) -> Iterator[tuple[int, int]]:
        """Take in what waits, in order; (header, receive) stamps in ns of each message that can be used.

        Args:
            leave_out: told topic, receive stamp and reason of a message that cannot be decoded.

        Raises:
            BagError: as `add`.
        """
        waiting, self._waiting = self._waiting, []
        for layouts, group in groupby(waiting, key=lambda item: item[0].layouts):
            items = list(group)
            for (joints, receive_ns), sample in zip(items, layouts.read_many([joints.data for joints, _ in items]),
                                                    strict=True):
                try:
                    message = layouts(joints.data) if sample is None else sample
                except BagError as error:
                    leave_out(self._topic, receive_ns, error)
                    continue
                if isinstance(message, JointSample):
                    self.take(message, receive_ns)
                elif not self.add(message, header_ns(message), receive_ns):
                    continue
                yield self.header_ns[-1], receive_ns

    def take(self, sample: JointSample, receive_ns: int) -> None:
        """Take in joints that are known already."""
        self.header_ns.append(sample.stamp_ns)
        self.receive_ns.append(receive_ns)
        self.positions_rad.append(sample.positions_rad)
