"""Messages that the recorder compressed one by one (rosbag2's compression_mode MESSAGE)."""

from __future__ import annotations

import numpy as np

from ladle.errors import BagError
from read_sensors_utils.storage.decompress import MAX_CHUNK_BYTES, zstd
from read_sensors_utils.storage.records import MessageRun, RawMessage
from read_sensors_utils.storage.source import LeftBytes

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"  # RFC 8878, 3.1.1; a CDR message begins with 00


def are_packed(message: RawMessage, run: MessageRun) -> bool:
    """Whether any message of the run is packed."""
    heads = run.table[:, : len(ZSTD_MAGIC)]
    return message.channel.encoding == "cdr" and bool((heads == np.frombuffer(ZSTD_MAGIC, np.uint8)).all(axis=1).any())


def plain(message: RawMessage) -> bytes | memoryview | LeftBytes:
    """A single message's bytes, unpacked where they are packed. Raises BagError when they cannot be unpacked."""
    data = message.data
    assert not isinstance(data, MessageRun)
    head = data.head if isinstance(data, LeftBytes) else data
    if message.channel.encoding != "cdr" or head[:4] != ZSTD_MAGIC:
        return data
    data = data.read() if isinstance(data, LeftBytes) else data
    machine = zstd.ZstdDecompressor()
    try:
        unpacked = machine.decompress(data, max_length=MAX_CHUNK_BYTES)
    except zstd.ZstdError as error:
        raise BagError(f"cannot be unpacked: {error}") from error
    if not machine.eof:
        raise BagError("cannot be unpacked: it is cut off or unpacks to more than is accepted")
    return unpacked
