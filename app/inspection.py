"""`ladle inspect`: what is in a recording or a data set, as a table or as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ladle.episode import EpisodeFolder
from ladle.errors import BagError, LadleError
from ladle.recording_limits import RecordingLimits
from ladle.script import one_line
from read_sensors_utils.find_bags import BagSource
from read_sensors_utils.inspection import BagReport, TopicReport, inspect_bag, kind_of, recordings_below
from read_sensors_utils.verification import UNREADABLE
from training.interop.kinds import Kind
from training.interop.kinds import kind_of as dataset_kind
from training.interop.summary import DatasetSummary, summarise

SENSOR_TYPES = ("Image", "CompressedImage", "JointState", "FrankaRobotState")
COLUMNS = ("topic", "type", "count", "rate Hz", "longest gap s", "clock offset ms", "MB", "remarks")
MARKDOWN_COLUMNS = ("recording", "kind", "messages", "topics", "duration s", "remarks")
RIGHT_ALIGNED = {"count", "rate Hz", "longest gap s", "clock offset ms", "MB", "messages", "topics", "duration s"}


@dataclass(frozen=True)
class FolderReport:
    """A folder of episodes in short; `ladle verify` looks into it."""

    path: Path
    episodes: list[int]
    ticks: int
    labelled: int
    half_made: dict[int, str]
    damaged: dict[int, str]

    @property
    def all_damaged(self) -> bool:
        """Whether there are episodes, and none that can be read."""
        return bool(self.damaged) and len(self.damaged) == len(self.episodes)


@dataclass(frozen=True)
class BrokenReport:
    """A recording that cannot be opened, and why."""

    path: Path
    kind: str
    error: str


Report = BagReport | FolderReport | DatasetSummary | BrokenReport


def inspect(path: Path, definitions: Sequence[Path] = (), *, decode_all: bool = False) -> list[Report]:
    """Look into what lies at a path: a recording, a folder of recordings, or a data set of any kind.

    Of several recordings those that cannot be opened become a BrokenReport.

    Raises:
        LadleError: nothing there, nothing that is known, or the only recording cannot be opened.
    """
    kind = _dataset_kind(path)
    if kind == Kind.EPISODES:
        return [_folder_report(path)]
    if kind is not None:
        return [summarise(path)]
    if not path.exists():
        raise BagError(f"nothing at {path}; expected a recording (.bag, .mcap, .db3, or its folder) or a data set")
    if not (path.is_file() or path.is_dir()):
        raise BagError(f"{path} is neither a file nor a folder; expected a recording (.bag, .mcap, .db3, or its "
                       "folder) or a data set")
    sources = recordings_below(path)
    if not sources:
        raise BagError(f"no recording and no data set in {path}; expected .bag, .mcap or .db3 files, actions/, .zarr, "
                       ".zarr.zip, .hdf5 or meta/info.json")
    if len(sources) == 1:
        return [inspect_bag(sources[0], definitions, decode_all=decode_all)]
    return [_inspect_or_say_why_not(source, definitions, decode_all=decode_all) for source in sources]


def nothing_readable(reports: Sequence[Report]) -> bool:
    """Whether not one of them could be looked into."""
    return all(isinstance(report, BrokenReport) or (isinstance(report, FolderReport) and report.all_damaged)
               for report in reports)


def as_json(reports: Sequence[Report]) -> str:
    """One object, or a list where the path holds several recordings."""
    plain = [_plain(report) for report in reports]
    return json.dumps(plain[0] if len(plain) == 1 else plain, indent=1)


def as_text(reports: Sequence[Report]) -> str:
    """For people."""
    return "\n\n".join(_text(report) for report in reports)


def markdown_table(folder: Path) -> str:
    """Every recording below a folder with its counts, or the line with which it is refused."""
    rows: list[list[str]] = []
    for source in recordings_below(folder):
        name = source.path.relative_to(folder).as_posix()
        try:
            report = inspect_bag(source, decode_all=True)
            remarks = [*report.losses, *_undecodable_by_reason(report.topics)]
            row = [name, report.kind, str(report.messages), str(sum(t.count > 0 for t in report.topics)),
                   f"{report.duration_s:.3f}", "; ".join(remarks)]
        except LadleError as error:
            row = [name, kind_of(source), "", "", "", f"refused: {one_line(error)}"]
        rows.append([cell.replace(f"{folder}/", "").replace("|", "\\|") for cell in row])
    rule = ["---:" if column in RIGHT_ALIGNED else "---" for column in MARKDOWN_COLUMNS]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [list(MARKDOWN_COLUMNS), rule, *rows]) + "\n"


def _inspect_or_say_why_not(source: BagSource, definitions: Sequence[Path], *, decode_all: bool) -> Report:
    try:
        return inspect_bag(source, definitions, decode_all=decode_all)
    except LadleError as error:
        return BrokenReport(source.path, kind_of(source), one_line(error))


def _dataset_kind(path: Path) -> Kind | None:
    try:
        return dataset_kind(path)
    except LadleError:
        return None


def _folder_report(path: Path) -> FolderReport:
    folder = EpisodeFolder(path)
    numbers = folder.numbers()
    ticks = labelled = 0
    damaged: dict[int, str] = {}
    for number in numbers:
        try:
            ticks += len(folder.stamps(number)["decision_s"])
            labelled += folder.frame_labels(number) is not None
        except UNREADABLE as error:  # noqa: PERF203  (every damaged one is to be named)
            damaged[number] = one_line(error)
    return FolderReport(path, numbers, ticks, labelled, folder.incomplete(), damaged)


def _plain(report: Report) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(asdict(report), default=str))
    if isinstance(report, BagReport):
        for topic, found in zip(plain["topics"], report.topics, strict=True):
            topic["health"] = found.health.to_json() if found.health is not None else None
    return plain


def _text(report: Report) -> str:
    if isinstance(report, BagReport):
        return _bag_text(report)
    if isinstance(report, BrokenReport):
        return f"{report.path}  ({report.kind})\ncannot be read: {report.error}"
    if isinstance(report, FolderReport):
        half = "".join(f"\nhalf-made: episode {n}: {reason}" for n, reason in report.half_made.items())
        half += "".join(f"\ndamaged: episode {n}: {reason}; see ladle verify" for n, reason in report.damaged.items())
        return (f"{report.path}  (episodes)\n{len(report.episodes)} episodes, {report.ticks} ticks, "
                f"{report.labelled} labelled{half}")
    rate = f", {report.fps_hz:g} Hz" if report.fps_hz is not None else ""
    head = (f"{report.path}  ({report.kind})\n{report.episodes} episodes, {report.steps} steps{rate}, "
            f"{report.size_bytes / 1e6:.1f} MB")
    rows = [[key, str(stream.shape), stream.dtype] for key, stream in sorted(report.streams.items())]
    return "\n".join([head, _aligned(["stream", "shape of a step", "type"], rows), *report.faults])


def _bag_text(report: BagReport) -> str:
    start = datetime.fromtimestamp(report.start_ns * 1e-9, tz=timezone.utc)
    head = (f"{report.path}  ({report.kind})\n{report.size_bytes / 1e6:.2f} MB, from {start:%Y-%m-%d %H:%M:%S} UTC, "
            f"{report.duration_s:.3f} s, {report.messages} messages")
    rows = [_topic_row(topic) for topic in report.topics]
    return "\n".join([head, _aligned(list(COLUMNS), rows), *_transport_lines(report.topics), *report.losses])


def _transport_lines(topics: Sequence[TopicReport]) -> list[str]:
    """What may be copied to a stream of the task file, where data took longer than passes without a word."""
    slow = [(topic, topic.health.clock_offset_s) for topic in topics
            if topic.health is not None and topic.health.clock == "system"
            and topic.type_name.rpartition("/")[2] in SENSOR_TYPES
            and topic.health.clock_offset_s > RecordingLimits().offset_warn_s]
    if not slow:
        return []
    return ["for the task file, if the clocks are synchronised and data take so long:",
            *(f"    transport_s: {seconds:.4f}  # {topic.topic}" for topic, seconds in slow)]


def _topic_row(topic: TopicReport) -> list[str]:
    health = topic.health
    row = [topic.topic, topic.type_name, str(topic.count)]
    if health is None:
        return [*row, "", "", "", "", ""]
    remarks = [_undecodable(topic)] if topic.reason else []
    irregular = health.dropped * 2 > health.count  # sent on events: no rate, so nothing is missing
    if irregular:
        remarks.append("irregular")
    if health.clock in ("simulation", "foreign"):
        remarks.append(f"{health.clock} clock")
    counted = {"missing": 0 if irregular else health.dropped, "repeated": health.duplicates,
               "overtaken": health.out_of_order, "unstamped": health.unstamped if health.clock != "none" else 0,
               "received before the one before": health.receive_backsteps, "clock jumps": health.clock_jumps}
    remarks += [f"{count} {what}" for what, count in counted.items() if count]
    offset = f"{health.clock_offset_s * 1e3:.1f}" if health.clock == "system" else ""
    mean_hz = (health.count - 1) / health.duration_s if health.duration_s > 0 else None
    rate_hz = mean_hz if irregular else health.rate_hz
    rate = f"{rate_hz:.2f}" if rate_hz is not None else ""
    gap = f"{health.longest_gap_s:.3f}" if health.count > 1 else ""
    return [*row, rate, gap, offset, f"{topic.bytes / 1e6:.2f}", ", ".join(remarks)]


def _undecodable_by_reason(topics: Sequence[TopicReport]) -> list[str]:
    """One remark for all topics that fail alike."""
    reasons = dict.fromkeys(topic.reason for topic in topics if topic.reason)
    alike = {reason: [topic for topic in topics if topic.reason == reason] for reason in reasons}
    return [" and ".join(f"{t.undecodable} of {t.count} messages on {t.topic}" for t in group)
            + f" cannot be decoded: {reason}" for reason, group in alike.items()]


def _undecodable(topic: TopicReport) -> str:
    return f"{topic.undecodable} of {topic.count} messages on {topic.topic} cannot be decoded: {topic.reason}"


def _aligned(columns: list[str], rows: list[list[str]]) -> str:
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    lines = [[cell.rjust(width) if column in RIGHT_ALIGNED else cell.ljust(width)
              for cell, width, column in zip(row, widths, columns, strict=True)] for row in [columns, *rows]]
    return "\n".join("  ".join(line).rstrip() for line in lines)
