"""What a recording's streams are like, said once and held against the task file."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ladle.errors import BagError
from ladle.sensor_config import CameraConfig, JointsConfig
from ladle.task import TaskConfig
from read_sensors_utils.stream_health import Finding, StreamHealth, judge

log = logging.getLogger("ladle.extract")

JOINTS = "joints"


def check_recording(name: str, task: TaskConfig, health: Mapping[str, StreamHealth]) -> None:
    """Log what is to be said about the streams of the recording `name`, by their keys in the task.

    Raises:
        BagError: what the task file refuses; the first reason in full, the others by name.
    """
    findings: dict[str, list[Finding]] = {}
    for stream, measured in health.items():
        config = _config(task, stream)
        findings[stream] = judge(measured, task.recording, stream, transport_s=config.transport_s,
                                 clock_offset_s=config.clock_offset_s) + _of_another_clock(task, health, stream)
    refused = [(stream, finding) for stream, found in findings.items() for finding in found
               if finding.level == "refuse"]
    if refused:
        others = ", ".join(f"{stream} ({finding.complaint})" for stream, finding in refused[1:])
        raise BagError(f"{name}: refused: {refused[0][1].text}" + (f"; likewise {others}" if others else ""))
    _tell_clock(name, episode_clock(health), all(measured.on_receive_clock for measured in health.values()))
    for finding in (finding for found in findings.values() for finding in found):
        if finding.level == "warn":
            log.warning("%s: %s", name, finding.text)
        else:
            log.info("%s: accepted by the task file: %s", name, finding.text)


def episode_clock(health: Mapping[str, StreamHealth]) -> dict[str, Any]:
    """What clock the header stamps of an episode are in, for episode.json.

    domain: "system" (the recorder's), "simulation", "foreign" (another origin), "none" (no stamps), or "mixed";
    real_time_factor: seconds of a simulation's or foreign clock in a second of the recorder's, else None.
    """
    domains = {measured.clock for measured in health.values() if measured.clock != "none"} or {"none"}
    domain = domains.pop() if len(domains) == 1 else "mixed"
    # The stream with the most samples tells the rate best.
    best = max(health.values(), key=lambda measured: measured.count)
    factor = round(1.0 - best.clock_drift, 6) if domain in ("simulation", "foreign") else None
    return {"domain": domain, "real_time_factor": factor}


def _of_another_clock(task: TaskConfig, health: Mapping[str, StreamHealth], stream: str) -> list[Finding]:
    """A simulation's stamps beside a computer's: nobody knows how far the streams are apart."""
    measured = health[stream]
    if episode_clock(health)["domain"] != "mixed" or measured.clock != "simulation" or measured.on_receive_clock:
        return []
    return [Finding("accept" if "clock_offset" in task.recording.accept.get(stream, ()) else "refuse", "clock_offset",
                    f"{stream} clock_offset: header stamps are a simulation's time, those of other streams are not, so "
                    "they are apart by an unknown time; let all drivers use the same time, or name the complaint in "
                    f"the task file's recording.accept.{stream}")]


def _config(task: TaskConfig, stream: str) -> JointsConfig | CameraConfig:
    assert task.joints is not None
    return task.joints if stream == JOINTS else task.cameras[stream]


def _tell_clock(name: str, clock: Mapping[str, Any], on_receive_clock: bool) -> None:
    if clock["domain"] == "simulation" and on_receive_clock:
        log.info("%s: header and receive stamps are a simulation's time", name)
    elif clock["domain"] == "simulation":
        log.info("%s: header stamps are a simulation's time, which ran at %.4f times the recorder's; they are brought "
                 "onto the receive clock", name, clock["real_time_factor"])
    elif clock["domain"] == "foreign":
        log.warning("%s: header stamps are of a clock with another origin; they are brought onto the receive clock by "
                    "their fastest messages. Synchronise the clocks before recording", name)
    elif clock["domain"] == "mixed":
        log.warning("%s: header stamps are of different clocks, so streams may be apart by their transport times; "
                    "let all drivers use the same time", name)
