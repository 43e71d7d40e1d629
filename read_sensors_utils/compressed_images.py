"""sensor_msgs/CompressedImage -> colour or depth, as ROS's image transports write it.

The field `format` begins with the encoding of the image before it was compressed: "16UC1; compressedDepth png". Depth
of the transport compressedDepth has 12 bytes before the PNG: a number, and the two parameters a, b (float32) of the
quantisation. 16-bit depth is stored as it was. Of depth in metres (32FC1) the PNG holds inverse depth,
raw = a / depth + b, and 0 where there is none. Source: compressed_depth_image_transport, codec.cpp and
compression_common.h of ros-perception/image_transport_plugins.
"""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ladle.errors import BagError
from ladle.sensor_config import CameraConfig
from read_sensors_utils.depth_ticks import ticks_from_metres

PNG_SIGNATURE = b"\x89PNG\r\n"
QUANTISATION = struct.Struct("<iff")  # the header of compressedDepth: its format (always 0), a, b
TICKS, METRES = ("16UC1", "mono16"), "32FC1"
# What a plain PNG is called by those who compress it themselves, as cv_bridge does: its numbers are what was given.
PLAIN = ("", "png")
MOSAIC = "bayer"
RECORD = "record its raw topic"


def compressed_color(message: Any, topic: str) -> NDArray[np.uint8]:
    """JPEG or PNG -> (H, W, 3) RGB.

    Raises:
        BagError: bytes that are no image, depth, more than 8 bits a channel, or the mosaic of a Bayer sensor.
    """
    data = _bytes(message)
    encoding, compressed_as = _parts(message.format)
    if encoding in (*TICKS, METRES):
        raise BagError(f"{topic} has format {message.format!r}, which is depth, but a colour camera is read from it; "
                       "is it the topic of another camera?")
    image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH) if data.size else None
    if image is None:
        raise BagError(f"{topic}: a message of format {message.format!r} is no JPEG or PNG image")
    if image.dtype != np.uint8:
        raise BagError(f"{topic} has {image.dtype.itemsize * 8} bits a channel (format {message.format!r}), but colour "
                       "is read from 8; is it the topic of a depth camera?")
    if encoding.startswith(MOSAIC) and compressed_as.rpartition(" ")[2] not in ("bgr8", "rgb8"):
        raise BagError(f"{topic} has format {message.format!r}, the mosaic of a Bayer sensor; {RECORD} after "
                       "image_proc, or have the driver send rgb8")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def compressed_depth(message: Any, camera: CameraConfig, topic: str) -> NDArray[np.uint16]:
    """16-bit PNG -> (H, W) ticks, from ticks or from inverse depth, as the format says.

    Raises:
        BagError: another encoding than these, another compression, or parameters that no encoder writes.
    """
    encoding, _ = _parts(message.format)
    if encoding not in (*TICKS, METRES, *PLAIN):
        raise BagError(f"{topic} has format {message.format!r}, but compressed depth is read from "
                       f"{', '.join((*TICKS, METRES))}; is it the topic of another camera?")
    data = _bytes(message)
    has_header = _is_png(data[QUANTISATION.size :])
    png = data[QUANTISATION.size :] if has_header else data
    image = cv2.imdecode(png, cv2.IMREAD_UNCHANGED) if _is_png(png) else None
    if image is None or image.dtype != np.uint16 or image.ndim != 2:
        raise BagError(f"{topic}: depth is read from 16-bit PNG, got format {message.format!r}; {RECORD}, or set "
                       "compressedDepth's parameter format to png")
    if encoding in TICKS or (not has_header and encoding != METRES):
        return np.asarray(image, np.uint16)
    if encoding != METRES:
        raise BagError(f"{topic}: format {message.format!r} does not say whether the depth is in ticks (16UC1) or "
                       f"inverse (32FC1); {RECORD}")
    if not has_header:
        raise BagError(f"{topic}: depth of format {message.format!r} lacks the 12 bytes that say how it was "
                       f"quantised; {RECORD}")
    return ticks_from_metres(_metres(image, data[: QUANTISATION.size].tobytes(), topic), camera)


def nearest_coded_m(message: Any) -> float | None:
    """The least depth that 16 bits of inverse depth can tell, 0.152 m with the transport's own settings; else None.

    The encoder cuts what does not fit, so that anything closer appears in the message as something farther away.
    """
    if _parts(message.format)[0] != METRES or len(message.data) < QUANTISATION.size:
        return None
    _, a, b = QUANTISATION.unpack(_bytes(message)[: QUANTISATION.size].tobytes())
    most = np.iinfo(np.uint16).max - b
    return a / most if most > 0 and np.isfinite(a) else None


def _metres(raw: NDArray[Any], header: bytes, topic: str) -> NDArray[np.float64]:
    """Undo the quantisation; not a number where there is no depth."""
    _, a, b = QUANTISATION.unpack(header)
    if not (np.isfinite(a) and np.isfinite(b) and a > 0):
        raise BagError(f"{topic}: the depth was quantised with a = {a:g} and b = {b:g}, expected a above 0 and both "
                       f"finite: the message is damaged, or of another encoder; {RECORD}")
    inverse = raw.astype(np.float64) - b
    valid = (raw > 0) & (inverse > 0)
    return np.divide(a, inverse, out=np.full(raw.shape, np.nan), where=valid)


def _parts(text: str) -> tuple[str, str]:
    """Format -> (encoding before compression, what comes after the first ";")."""
    encoding, _, rest = str(text).partition(";")
    return encoding.strip(), rest.strip()


def _bytes(message: Any) -> NDArray[np.uint8]:
    return np.frombuffer(bytes(message.data), np.uint8)


def _is_png(data: NDArray[np.uint8]) -> bool:
    return data[: len(PNG_SIGNATURE)].tobytes() == PNG_SIGNATURE
