"""Named arrays and a few plain values as bytes, without pickle: what crosses a socket or lies in a recording."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ladle.errors import DeploymentError

LENGTH = struct.Struct("<I")
PLAIN_KINDS = "biuf"  # truth values, integers, floats


@dataclass(frozen=True)
class ArrayMessage:
    """What is said.

    Attributes:
        kind: what the message is about.
        values: plain values that JSON knows; floats come back bit for bit.
        arrays: name -> array of numbers.
    """

    kind: str
    values: Mapping[str, Any] = field(default_factory=dict[str, Any])
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict[str, NDArray[Any]])

    def to_bytes(self) -> bytes:
        """Length of the JSON text, the text, and the arrays in C order, one after the other."""
        head = json.dumps({"kind": self.kind, "values": dict(self.values),
                           "arrays": [[name, a.dtype.str, a.shape] for name, a in self.arrays.items()]}).encode()
        data = [np.ascontiguousarray(array).tobytes() for array in self.arrays.values()]
        return b"".join([LENGTH.pack(len(head)), head, *data])

    @staticmethod
    def from_bytes(data: bytes) -> ArrayMessage:
        """The inverse. Raises DeploymentError for bytes that are no whole message."""
        try:
            at = LENGTH.size + LENGTH.unpack_from(data)[0]
            head = json.loads(data[LENGTH.size : at])
            arrays = dict[str, NDArray[Any]]()
            for name, dtype, shape in head["arrays"]:
                kind = np.dtype(dtype)
                if kind.kind not in PLAIN_KINDS:
                    raise TypeError(f"array {name!r} of {kind}")
                count = math.prod(shape)
                arrays[name] = np.frombuffer(data, kind, count, at).reshape(shape)
                at += count * kind.itemsize
        except (struct.error, ValueError, KeyError, TypeError) as error:
            raise DeploymentError(f"a message of {len(data)} bytes is not whole, or of another version: "
                                  f"{error}") from error
        return ArrayMessage(head["kind"], head["values"], arrays)
