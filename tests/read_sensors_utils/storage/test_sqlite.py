"""db3 files of every schema give up all rows that are on the disk, in the order of receipt, and stay as they are."""

from __future__ import annotations

import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from ladle.errors import BagError
from read_sensors_utils.storage import sqlite
from read_sensors_utils.storage.message_runs import one_by_one
from read_sensors_utils.storage.source import LeftBytes
from read_sensors_utils.storage.sqlite import SqliteStorage
from read_sensors_utils.storage.sqlite_rows import CAN_LEAVE, LeftRowError

SCHEMAS = {
    "crystal": ("name TEXT, type TEXT, serialization_format TEXT", ""),
    "foxy": ("name TEXT, type TEXT, serialization_format TEXT, offered_qos_profiles TEXT", ""),
    "jazzy": ("name TEXT, type TEXT, serialization_format TEXT, offered_qos_profiles TEXT, type_description_hash TEXT",
              "int32 data"),
}
BIG = 20_000  # bytes, so that messages have pages of their own


def write(path: Path, rows: list[tuple[int, int, bytes]], schema: str = "jazzy", index: bool = True,
          page_bytes: int = 4096) -> Path:
    """A db3 with the topics 1 (/a) and 2 (/b) and rows of (topic, stamp, data)."""
    columns, definition = SCHEMAS[schema]
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA page_size={page_bytes}")
        database.execute(f"CREATE TABLE topics(id INTEGER PRIMARY KEY, {columns})")
        if definition:
            database.execute("CREATE TABLE message_definitions(id INTEGER PRIMARY KEY, topic_type TEXT, encoding TEXT, "
                             "encoded_message_definition TEXT, type_description_hash TEXT)")
            database.execute("INSERT INTO message_definitions VALUES (1, 'std_msgs/msg/Int32', 'ros2msg', ?, 'RIHS')",
                             (definition,))
        database.execute("CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL, "
                         "timestamp INTEGER NOT NULL, data BLOB NOT NULL)")
        if index:
            database.execute("CREATE INDEX timestamp_idx ON messages (timestamp ASC)")
        type_name = "std_msgs/Int32" if schema == "crystal" else "std_msgs/msg/Int32"
        empty = [""] * (columns.count(",") - 2)
        for key, name in ((1, "/a"), (2, "/b")):
            marks = ", ".join("?" * (4 + len(empty)))
            database.execute(f"INSERT INTO topics VALUES ({marks})", (key, name, type_name, "cdr", *empty))
        database.executemany("INSERT INTO messages (topic_id, timestamp, data) VALUES (?, ?, ?)", rows)
        database.commit()
    return path


def read(path: Path, keys: list[int] | None = None) -> tuple[list[tuple[str, int, bytes]], SqliteStorage]:
    """All messages of the channels, and the closed storage."""
    storage = SqliteStorage(path)
    try:
        found = storage.messages(keys)
        return [(message.channel.topic, message.receive_ns, bytes(message.data)) for message in found], storage
    finally:
        storage.close()


@pytest.mark.parametrize("schema", list(SCHEMAS))
@pytest.mark.parametrize("index", [True, False])
def test_every_schema_is_read(tmp_path, schema, index):
    """Old type names are brought to those in use; the definition comes along where there is one."""
    path = write(tmp_path / "odd ?#% name.db3", [(1, 5, b"x"), (2, 6, b"y"), (1, 7, b"z")], schema, index)
    messages, storage = read(path)
    assert messages == [("/a", 5, b"x"), ("/b", 6, b"y"), ("/a", 7, b"z")]
    assert (storage.start_ns, storage.end_ns, storage.counts) == (5, 7, {1: 2, 2: 1})
    assert {channel.type_name for channel in storage.channels} == {"std_msgs/msg/Int32"}
    assert storage.channels[0].definition == SCHEMAS[schema][1]
    assert not storage.losses
    assert read(path, [2])[0] == [("/b", 6, b"y")]


@given(stamps=st.lists(st.tuples(st.sampled_from([1, 2]), st.integers(0, 20)), max_size=60), index=st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
def test_messages_come_in_the_order_of_receipt(tmp_path, stamps, index):
    """Equal stamps keep the order of the file; steps back are counted by topic."""
    path = tmp_path / "x.db3"
    path.unlink(missing_ok=True)
    rows = [(key, stamp, bytes([n])) for n, (key, stamp) in enumerate(stamps)]
    messages, storage = read(write(path, rows, index=index))
    assert [(key, stamp, data) for key, stamp, data in messages] == [
        ({1: "/a", 2: "/b"}[key], stamp, data) for key, stamp, data in sorted(rows, key=lambda row: row[1])]
    for key in storage.backsteps:
        own = [stamp for topic, stamp in stamps if topic == key]
        assert storage.backsteps[key] == sum(stamp < max(own[:n]) for n, stamp in enumerate(own) if n)


@pytest.mark.parametrize("page_bytes", [512, 4096])
@pytest.mark.parametrize("share", [0.15, 0.4, 0.7, 0.95, 0.999])
def test_a_cut_off_file_gives_up_every_whole_row(tmp_path, share, page_bytes):
    """Also those whose place in the tree was cut off; what is missing is counted."""
    rows = [(1 + n % 2, n, bytes([n % 256]) * (BIG if n % 7 == 0 else 50)) for n in range(300)]
    path = write(tmp_path / "x.db3", rows, page_bytes=page_bytes)
    os.truncate(path, int(path.stat().st_size * share))
    messages, storage = read(path)
    expected = {stamp: (topic, data) for topic, stamp, data in rows}
    assert all(expected[stamp] == ({"/a": 1, "/b": 2}[topic], data) for topic, stamp, data in messages)
    assert [stamp for _, stamp, _ in messages] == sorted({stamp for _, stamp, _ in messages})
    assert storage.losses
    assert len(messages) > 0.75 * share * len(rows)
    assert len(messages) + storage.losses.messages >= messages[-1][1] + 1


def with_a_broken_chain(path):
    """Nine large messages; the chain of pages of the fifth leads nowhere."""
    rows = [(1, n, bytes([65 + n]) * BIG) for n in range(9)]
    write(path, rows)
    content = bytearray(path.read_bytes())
    start = next(at for at in range(0, len(content), 4096) if content[at + 4 : at + 4096] == b"E" * 4092)
    content[start : start + 4] = b"\x00\xff\xff\xff"
    path.write_bytes(content)
    return path, rows


def test_a_damaged_message_costs_only_itself(tmp_path):
    """The chain of pages of one message leads nowhere."""
    path, _ = with_a_broken_chain(tmp_path / "x.db3")
    messages, storage = read(path)
    assert [stamp for _, stamp, _ in messages] == [0, 1, 2, 3, 5, 6, 7, 8]
    assert storage.losses.messages == 1
    assert "malformed" in storage.losses.reasons[0]


needs_blobs = pytest.mark.skipif(not CAN_LEAVE, reason="Python before 3.11 reads rows whole only")


@needs_blobs
@pytest.mark.parametrize("backwards", [False, True])
def test_large_messages_can_be_left_in_their_rows(tmp_path, backwards):
    """All messages are the same, in the same order, whether the rows are in the order of receipt or not."""
    rows = [(1 + n % 2, 100 - n if backwards else n, bytes([n]) * (BIG + n if n % 3 else 50)) for n in range(60)]
    path = write(tmp_path / "x.db3", rows)
    expected, _ = read(path)
    with closing(SqliteStorage(path)) as storage:
        found = list(storage.messages(None, left=[1]))
        left = [m for m in found if isinstance(m.data, LeftBytes)]
        contents = [m.data.read() if isinstance(m.data, LeftBytes) else m.data for m in found]
        assert [(m.channel.topic, m.receive_ns, data) for m, data in zip(found, contents, strict=True)] == expected
        assert {m.channel.key for m in left} == {1}
        assert len(left) == sum(key == 1 and len(data) > BIG for key, _, data in rows)
        assert bytes(left[0].data.head) == left[0].data.read()[: sqlite.BEGIN_BYTES]


@needs_blobs
def test_a_row_that_cannot_be_left_says_so(tmp_path):
    """Its chain of pages leads nowhere, or the file was exchanged: whoever reads the row is not given other bytes."""
    path, rows = with_a_broken_chain(tmp_path / "x.db3")
    with closing(SqliteStorage(path)) as storage:
        left = [m.data for m in storage.messages(None, left=[1])]
    with pytest.raises(LeftRowError, match=r"row 5 of .* cannot be read: database disk image is malformed"):
        left[4].read()
    assert left[3].read() == b"D" * BIG
    exchanged = tmp_path / "exchanged.db3"
    write(exchanged, rows)
    with closing(SqliteStorage(exchanged)) as storage:
        left = [m.data for m in storage.messages(None, left=[1])]
    write(tmp_path / "other.db3", [(1, n, bytes([70 + n]) * BIG) for n in range(9)]).replace(exchanged)
    with pytest.raises(LeftRowError, match="exchanged"):
        left[0].read()


@given(sizes=st.lists(st.tuples(st.sampled_from([1, 2]), st.sampled_from([0, 3, 40])), max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
def test_runs_hold_the_same_messages(tmp_path, sizes):
    """In the same order; a run has messages of one topic and one length only."""
    path = tmp_path / "x.db3"
    path.unlink(missing_ok=True)
    write(path, [(key, n, bytes([n]) * size) for n, (key, size) in enumerate(sizes)])
    with closing(SqliteStorage(path)) as storage:
        met = list(storage.messages(None, runs=[1]))
        single = [message for item in met for message in one_by_one(item)]
        assert [(m.channel.topic, m.receive_ns, m.data) for m in single] == read(path)[0]
    changes = sum(last != this or this[0] == 2 for last, this in zip([None, *sizes], sizes, strict=False))
    assert len(met) == changes


@given(seed=st.integers(0, 2**32), n_flips=st.integers(1, 30))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@example(seed=8081, n_flips=2)  # a name in the schema that is no text
def test_random_damage_ends_in_messages_or_a_bag_error(tmp_path, seed, n_flips):
    """No other exception, whatever byte is hit."""
    rng = random.Random(seed)
    path = tmp_path / "x.db3"
    if not path.exists():
        write(path, [(1 + n % 2, n, bytes([n]) * (6000 if n % 5 == 0 else 90)) for n in range(60)])
    content = bytearray(path.read_bytes())
    for _ in range(n_flips):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    damaged = tmp_path / "damaged.db3"
    damaged.write_bytes(content)
    try:
        messages, storage = read(damaged)
    except BagError:
        return
    assert len(messages) <= sum(storage.counts.values())


def test_a_lost_first_page_is_read_around(tmp_path):
    """The schema is gone, the pages are there."""
    rows = [(1, n, bytes([n]) * 200) for n in range(200)]
    path = write(tmp_path / "x.db3", rows)
    content = bytearray(path.read_bytes())
    content[100:4096] = bytes(3996)
    path.write_bytes(content)
    messages, storage = read(path)
    assert [data for _, _, data in messages] == [data for _, _, data in rows]
    assert storage.losses


def test_rows_that_make_no_sense_are_counted(tmp_path):
    """Unknown topics, stamps that are text or negative, messages that are text."""
    path = write(tmp_path / "x.db3", [(1, 1, b"a"), (9, 2, b"b"), (1, 3, b"c")])
    with closing(sqlite3.connect(path)) as database:
        database.execute("INSERT INTO messages (topic_id, timestamp, data) VALUES (1, 'later', x'00')")
        database.execute("INSERT INTO messages (topic_id, timestamp, data) VALUES (1, -5, x'00')")
        database.execute("INSERT INTO messages (topic_id, timestamp, data) VALUES (1, 6, 'words')")
        database.commit()
    messages, storage = read(path)
    assert [data for _, _, data in messages] == [b"a", b"c"]
    assert storage.losses.messages == 4


@pytest.mark.parametrize(("statement", "words"), [
    ("DROP TABLE messages", "no recording: it has no table messages"),
    ("ALTER TABLE messages RENAME COLUMN data TO body", "no recording of rosbag2: its table messages has the columns"),
])
def test_other_databases_are_refused_by_name(tmp_path, statement, words):
    """The message says what is missing."""
    path = write(tmp_path / "x.db3", [(1, 1, b"a")])
    with closing(sqlite3.connect(path)) as database:
        database.execute(statement)
    with pytest.raises(BagError, match=words) as raised:
        SqliteStorage(path)
    assert "x.db3" in str(raised.value)


def test_topics_serialised_in_another_way_are_listed(tmp_path):
    """Their type says so, hence they are never decoded."""
    path = write(tmp_path / "x.db3", [(1, 1, b"a"), (2, 2, b"b")])
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE topics SET serialization_format = 'protobuf' WHERE id = 2")
        database.commit()
    storage = SqliteStorage(path)
    names = [channel.type_name for channel in storage.channels]
    assert names == ["std_msgs/msg/Int32", "std_msgs/msg/Int32 (protobuf)"]
    storage.close()


def test_a_transaction_that_a_kill_interrupted_is_taken_back(tmp_path):
    """A hot rollback journal is applied to a copy; the folder stays as it is."""
    path = write(tmp_path / "x.db3", [(1, n, b"a" * 3000) for n in range(50)])
    killed = tmp_path / "killed"
    killed.mkdir()
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA cache_size=2")
        database.execute("BEGIN")
        database.execute("UPDATE messages SET timestamp = timestamp + 1000")
        for name in ("x.db3", "x.db3-journal"):
            (killed / name).write_bytes((tmp_path / name).read_bytes())
        database.execute("ROLLBACK")
    before = {file.name: file.read_bytes() for file in killed.iterdir()}
    assert [stamp for _, stamp, _ in read(killed / "x.db3")[0]] == list(range(50))
    assert {file.name: file.read_bytes() for file in killed.iterdir()} == before


def test_nothing_is_written_beside_the_file(tmp_path):
    """A left-over -shm does not matter, and a file in WAL mode gets no -wal."""
    path = write(tmp_path / "x.db3", [(1, 1, b"a")])
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA journal_mode=WAL")
    (tmp_path / "x.db3-shm").write_bytes(b"\xff" * 32768)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert len(read(path)[0]) == 1
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before


def interior_page(child: int, page_bytes: int, keys: list[int]) -> bytes:
    """An interior page whose cells all lead to one child (file format, section 1.6)."""
    cells = [child.to_bytes(4, "big") + bytes([0x80 | key >> 7, key & 0x7F]) for key in keys]
    places = [page_bytes - 6 * (n + 1) for n in range(len(cells))]
    head = b"\x05" + bytes(2) + len(cells).to_bytes(2, "big") + places[-1].to_bytes(2, "big") + b"\0"
    page = bytearray(head + child.to_bytes(4, "big") + b"".join(place.to_bytes(2, "big") for place in places))
    page += bytes(page_bytes - len(page))
    for place, cell in zip(places, cells, strict=True):
        page[place : place + 6] = cell
    return bytes(page)


@pytest.mark.parametrize(("table", "root"), [("topics", 2), ("message_definitions", 3), ("messages", 4)])
def test_a_tree_that_leads_to_one_page_again_and_again_ends(tmp_path, table, root):
    """A file of 7 kB would have 24 million rows; its pages hold five."""
    path = write(tmp_path / "x.db3", [(1, n, b"a") for n in range(5)], page_bytes=512, index=False)
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone() == (root,)
    content = bytearray(path.read_bytes())
    n_pages = len(content) // 512
    leaf = content[512 * (root - 1) : 512 * root]
    levels = [interior_page(n_pages + 2 + n, 512, list(range(1, 61))) for n in range(4)]
    content[512 * (root - 1) : 512 * root] = levels[0]
    content[28:32] = (n_pages + 5).to_bytes(4, "big")
    path.write_bytes(content.ljust(512 * (n_pages + 1), b"\0") + b"".join(levels[1:]) + leaf)
    messages, storage = read(path)
    assert [stamp for _, stamp, _ in messages] == list(range(5))
    assert "leads to the same rows again" in storage.losses.reasons[0]


@pytest.mark.parametrize("cut", [False, True])
def test_a_chain_of_pages_that_bites_its_tail_is_broken(tmp_path, cut):
    """A row of 300 kB in one page, in a file that is shorter than that or not, is not read."""
    path = write(tmp_path / "x.db3", [(1, 0, b"a" * 300_000), (1, 1, b"sound")], index=False)
    content = bytearray(path.read_bytes())
    content[100:4096] = bytes(3996)  # no schema: the leaf pages are read
    chain = next(at for at in range(0, len(content), 4096) if content[at + 4 : at + 4096] == b"a" * 4092)
    content[chain : chain + 4] = (chain // 4096 + 1).to_bytes(4, "big")
    path.write_bytes(content[: chain + 4096] if cut else content)
    messages, storage = read(path)
    assert [data for _, _, data in messages] == [b"sound"]
    assert storage.losses.messages == (0 if cut else 1)
