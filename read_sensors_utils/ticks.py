"""Which instants become ticks, and what the joints are at them.

Decision times are d_k = d_0 + k dt in the clock of the receive stamps. The first is the first at which every stream
has a sample and the joints are known at the observation time; the last is not after any stream's last sample.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

NEVER_NS = 2**63 - 1


class TickSchedule:
    """Says, while a recording is replayed, which decision times have passed.

    Attributes:
        decisions_ns: the ticks so far.
        next_ns: nothing is due before a receipt at or before this instant.
    """

    def __init__(self, period_s: float, streams: Collection[str], is_valid: Callable[[int], bool]) -> None:
        """is_valid(decision_ns) is asked for candidates of the first tick, once every stream has a sample."""
        self._period_ns = period_s * 1e9
        self._waiting = set(streams)
        self._is_valid = is_valid
        self._origin_ns = 0
        self._candidate = 0
        self.decisions_ns: list[int] = []
        self.next_ns = NEVER_NS

    def due(self, before_ns: int) -> Iterator[int]:
        """Decision times before the next receipt, each once; call before the sample received then is taken in."""
        while not self._waiting:
            decision_ns = self._origin_ns + round(self._candidate * self._period_ns)
            self.next_ns = decision_ns
            if decision_ns >= before_ns:
                return
            self._candidate += 1
            if self.decisions_ns or self._is_valid(decision_ns):
                self.decisions_ns.append(decision_ns)
                yield decision_ns

    def received(self, stream: str, receive_ns: int) -> None:
        """A sample of the stream was taken in."""
        if stream in self._waiting:
            self._waiting.remove(stream)
            self._origin_ns = receive_ns
            self.next_ns = NEVER_NS if self._waiting else receive_ns

    @property
    def waiting_for(self) -> list[str]:
        """Streams without any sample yet."""
        return sorted(self._waiting)
