"""Decompression that neither trusts a declared size nor grows beyond it, and that gives up the part of a cut stream.

The limits of expansion follow from the formats: an LZ4 length byte stands for at most 255 bytes (LZ4 block format), a
Zstandard block of 4 bytes for at most 128 KiB (RFC 8878, 3.1.1.2), a bzip2 block of some 40 bytes for at most 46 MB of
one repeated byte (run lengths of 255 before the block of 900 kB).
"""

from __future__ import annotations

import bz2
import logging
import sys
from collections.abc import Iterator
from typing import Any, Protocol

import lz4.frame

if sys.version_info >= (3, 14):
    from compression import zstd  # pyright: ignore[reportMissingImports]
else:
    from backports import zstd

log = logging.getLogger(__name__)

MAX_CHUNK_BYTES = 1 << 28  # recorders write chunks of 1 to some 10 MB; one message may be larger, and a few are held
EXPANSION = {"lz4": 256, "zstd": 1 << 15, "bz2": 1 << 21}
EXPANSION_FLOOR_BYTES = 1 << 17  # one block, however short its code
STEP_BYTES = 1 << 22
NAMES = ("none", *EXPANSION)


class ChunkDamageError(ValueError):
    """A chunk cannot be taken as it is; the text says why, to be put behind "a chunk". Never leaves this package."""


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> Any: ...
    def decompress(self, data: bytes, /, *, max_length: int) -> bytes: ...


def check_sizes(compression: str, stored: int, raw: int) -> None:
    """Refuse sizes that no sound chunk has, before anything is allocated.

    Raises:
        ChunkDamageError: unknown compression, or sizes that cannot be true.
    """
    if compression not in NAMES:
        raise ChunkDamageError("is compressed in an unknown way")
    if max(stored, raw) > MAX_CHUNK_BYTES:
        raise ChunkDamageError(f"declares more than the {MAX_CHUNK_BYTES} bytes that are accepted")
    if compression == "none" and stored != raw:
        raise ChunkDamageError("declares sizes that contradict each other")
    if compression != "none" and raw > EXPANSION[compression] * stored + EXPANSION_FLOOR_BYTES:
        raise ChunkDamageError(f"declares more bytes than its {compression} data can hold")


def decompress(data: bytes, compression: str, raw: int) -> bytes:
    """The chunk's raw bytes, exactly as many as declared; sizes have passed check_sizes.

    Raises:
        ChunkDamageError: the stream is damaged, cut off, or of another length.
    """
    if compression == "none":
        return data
    try:
        plain = _lz4(data, raw) if compression == "lz4" else b"".join(_stream(data, compression, raw, needs_end=True))
    except (OSError, EOFError, ValueError, RuntimeError, zstd.ZstdError) as error:
        log.debug("chunk of %d bytes: %s", len(data), error)
        if isinstance(error, ChunkDamageError):
            raise
        raise ChunkDamageError("cannot be decompressed") from error
    if len(plain) != raw:
        raise ChunkDamageError("holds fewer bytes than declared")
    return plain


def decompress_part(data: bytes, compression: str) -> bytes:
    """As much of a cut-off stream as can be had, at most MAX_CHUNK_BYTES."""
    if compression == "none":
        return data
    if compression not in NAMES:
        return b""
    most = min(MAX_CHUNK_BYTES, EXPANSION[compression] * len(data) + EXPANSION_FLOOR_BYTES)
    parts: list[bytes] = []
    try:
        for part in _stream(data, compression, most, needs_end=False):
            parts.append(part)  # noqa: PERF402 - what came before an exception must be kept
    except (OSError, EOFError, ValueError, RuntimeError, zstd.ZstdError):
        log.debug("a cut-off %s stream was given up after %d pieces", compression, len(parts))
    return b"".join(parts)


def _lz4(data: bytes, raw: int) -> bytes:
    context = lz4.frame.create_decompression_context()
    plain, _, ended = lz4.frame.decompress_chunk(context, data, max_length=max(raw, 1))
    if not ended:
        raise ChunkDamageError("is cut off or longer than declared")
    return plain


def _decompressor(compression: str) -> _Decompressor:
    if compression == "zstd":
        return zstd.ZstdDecompressor()
    frames: Any = lz4.frame  # its stubs leave eof and unused_data open
    return bz2.BZ2Decompressor() if compression == "bz2" else frames.LZ4FrameDecompressor()


def _stream(data: bytes, compression: str, most: int, *, needs_end: bool) -> Iterator[bytes]:
    """Pieces of at most STEP_BYTES, up to `most` bytes in all; streams may follow one another."""
    left = most
    while data:
        machine = _decompressor(compression)
        while not machine.eof:
            piece = machine.decompress(data, max_length=min(STEP_BYTES, left + 1))
            data = b""
            if not piece and not machine.eof:
                break
            left -= len(piece)
            if left < 0:
                raise ChunkDamageError("is longer than declared")
            yield piece
        if not machine.eof and needs_end:
            raise ChunkDamageError("is cut off")
        data = bytes(machine.unused_data or b"") if machine.eof else b""
