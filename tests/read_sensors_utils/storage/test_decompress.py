"""Decompression believes no size and makes no more than was declared."""

from __future__ import annotations

import bz2
import tracemalloc
from collections.abc import Callable

import lz4.frame
import pytest
from backports import zstd

from read_sensors_utils.storage import decompress

COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "zstd": zstd.compress, "lz4": lz4.frame.compress, "bz2": bz2.compress}


def test_sizes_that_cannot_be_true_are_refused_before_anything_is_read() -> None:
    """A chunk of any size up to the limit is fine."""
    decompress.check_sizes("none", 1 << 28, 1 << 28)
    for sizes in (("none", 5, 6), ("none", 1 << 31, 1 << 31), ("lz4", 10_000, 10_000_000), ("zstd", 10, 1 << 28),
                  ("zstd", 1 << 20, (1 << 28) + 1), ("x", 1, 1)):
        with pytest.raises(decompress.ChunkDamageError):
            decompress.check_sizes(*sizes)


def test_a_bomb_is_not_unpacked() -> None:
    """Memory stays near the declared size."""
    bomb = zstd.compress(bytes(100 << 20))
    tracemalloc.start()
    with pytest.raises(decompress.ChunkDamageError, match="longer than declared"):
        decompress.decompress(bomb, "zstd", 1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 << 20


@pytest.mark.parametrize("compression", COMPRESSORS)
def test_decompression_stops_at_the_declared_size(compression: str) -> None:
    """More than declared is damage, found before it is made."""
    stored = COMPRESSORS[compression](bytes(1 << 20))
    assert decompress.decompress(stored, compression, 1 << 20) == bytes(1 << 20)
    for wrong in (0, 1, (1 << 20) - 1, (1 << 20) + 1):
        with pytest.raises(decompress.ChunkDamageError):
            decompress.decompress(stored, compression, wrong)
    with pytest.raises(decompress.ChunkDamageError):
        decompress.decompress(stored[:-9], compression, 1 << 20)
