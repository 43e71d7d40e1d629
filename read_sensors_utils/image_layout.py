"""Raw images without decoding each: where the pixels lie is learnt from the first message of a topic.

A message whose length and whose bytes before the pixels equal those of a message that was decoded, but for the stamp
(and ROS 1's running number), has its pixels in the same place. Any other message is decoded in full.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ladle.errors import BagError
from read_sensors_utils.decode import header_ns
from read_sensors_utils.message_types import Decoder
from read_sensors_utils.storage.source import LeftArray, LeftBytes

NS_PER_S = 1_000_000_000
STAMP = struct.Struct("<iI")
# CDR begins with its own four bytes, ROS 1's header with the running number; the stamp comes next.
STAMP_AT, STAMP_END = 4, 12
PIXELS = (np.uint8, np.uint16)
IMAGE_TYPE = "sensor_msgs/msg/Image"
ATTEMPTS = 12  # to learn


class RawImage(NamedTuple):
    """The header stamp of a message and its image: a view of the message's bytes, or left in the file as they are."""

    stamp_ns: int
    image: NDArray[Any] | LeftArray


class _Layout(NamedTuple):
    length: int
    start: bytes
    head: bytes
    pixels_at: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def read(self, data: bytes | memoryview | LeftBytes) -> RawImage | None:
        begin, length = (data.head, data.size) if isinstance(data, LeftBytes) else (data, len(data))
        if (length != self.length or begin[STAMP_END : self.pixels_at] != self.head
                or begin[: len(self.start)] != self.start):
            return None
        seconds, nanoseconds = STAMP.unpack_from(begin, STAMP_AT)
        if isinstance(data, LeftBytes):
            image = data.array(self.pixels_at, self.dtype, self.shape)
        else:
            image = np.frombuffer(data, self.dtype, offset=self.pixels_at).reshape(self.shape)
        # Seconds are signed in ROS 2 and not in ROS 1; the few values where that matters are decoded in full.
        return None if seconds < 0 else RawImage(seconds * NS_PER_S + nanoseconds, image)


class ImageLayout:
    """Reads the raw images of one topic: a decoder that gives a RawImage where it need not decode."""

    def __init__(self, decode: Decoder, image_of: Callable[[Any], NDArray[Any]]) -> None:
        """decode(raw message) gives the message; image_of(message) its image, or raises BagError."""
        self._decode, self._image_of = decode, image_of
        self._layout: _Layout | None = None
        self._attempts_left = ATTEMPTS

    def __call__(self, data: bytes | memoryview | LeftBytes) -> Any:
        """The image alone, or the whole message. Raises BagError for one that cannot be decoded."""
        if self._layout is not None and (found := self._layout.read(data)) is not None:
            return found
        data = data.read() if isinstance(data, LeftBytes) else data
        message = self._decode(data)
        if self._attempts_left and getattr(message, "__msgtype__", "") == IMAGE_TYPE and header_ns(message):
            self._attempts_left -= 1
            self._layout = self._learnt(data, message)
        return message

    def _learnt(self, data: bytes | memoryview, message: Any) -> _Layout | None:
        """The layout of a message whose last bytes are the image as it is, unconverted; else None."""
        try:
            image = self._image_of(message)
        except BagError:
            return None
        at = len(data) - image.nbytes
        start = b"" if hasattr(message.header, "seq") else bytes(data[:STAMP_AT])
        layout = _Layout(len(data), start, bytes(data[STAMP_END:at]), at, image.dtype, image.shape)
        # Equal pixels would prove nothing: a black image is the same in every order of colours and bytes.
        is_unconverted = image.flags.c_contiguous and _address(image) == _address(np.frombuffer(data, np.uint8)) + at
        if image.dtype not in PIXELS or not is_unconverted or at < STAMP_END:
            return None
        found = layout.read(data)
        return layout if found is not None and found.stamp_ns == header_ns(message) else None


def _address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])
