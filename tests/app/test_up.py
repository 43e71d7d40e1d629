"""Processes of a run: how they are started, watched, ended, and cleaned up after."""

from __future__ import annotations

import mmap
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from app.domain import free_domain
from app.processes import ChildProcess, remove_orphaned_shared_memory, stop, wait_for_any
from app.up import Bringup, command
from ladle.errors import DeploymentError
from ladle_bringup.description import NodeDescription
from ladle_bringup.settings import BringupSettings

ROOT = Path(__file__).parents[2]
SLEEP = "import time; time.sleep(60)"
STUBBORN = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
SETTINGS = BringupSettings(policy="hold")


def _child(name: str, code: str, log: Path | None = None) -> ChildProcess:
    return ChildProcess(name, [sys.executable, "-c", code], os.environ, log)


def _is_alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_parameters_keep_their_types_on_the_command_line() -> None:
    """ROS reads the values as YAML: the text 12 stays text, a quote survives, numbers and truth values are such."""
    values: dict[str, bool | int | float | str] = {"a": "12", "b": "it's: here", "c": True, "d": 0.1, "e": 3, "f": ""}
    line = command(NodeDescription("package", "node", "my_name", values))
    assert line[1:6] == ["-m", "package.node", "--ros-args", "-r", "__node:=my_name"]
    read = {text.partition(":=")[0]: yaml.safe_load(text.partition(":=")[2]) for text in line[7::2]}
    assert read == values


def test_domains_of_runs_side_by_side_differ() -> None:
    """Two runs on one machine never hear each other; a domain is free again afterwards."""
    with free_domain() as first:
        with free_domain() as second:
            assert second != first
        with free_domain() as third:
            assert third == second


def test_children_end_in_order_and_a_stubborn_one_still_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """SIGINT first; one that ignores it gets SIGTERM."""
    monkeypatch.setattr("app.processes.INTERRUPT_PATIENCE_S", 3.0)
    log = tmp_path / "stubborn.log"
    children = [_child("willing", SLEEP), _child("stubborn", STUBBORN, log)]
    while log.read_text() != "up\n":
        time.sleep(0.01)
    assert stop(children)
    assert [child.exit_code for child in children] == [-signal.SIGINT, -signal.SIGTERM]


def test_children_end_with_a_killed_parent() -> None:
    """Even SIGKILL of `ladle up` leaves no process behind."""
    code = ("import os, sys; from app.processes import ChildProcess\n"
            f"child = ChildProcess('c', [sys.executable, '-c', {SLEEP!r}], os.environ, None)\n"
            "print(child.pid, flush=True); import time; time.sleep(60)")
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert _is_alive(pid)
        parent.kill()
    until_s = time.monotonic() + 60.0
    while _is_alive(pid) and time.monotonic() < until_s:
        time.sleep(0.02)
    assert not _is_alive(pid)


def test_a_node_that_fails_ends_the_run_with_its_last_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error names the node, its exit code and what it said; the others are ended."""
    codes = {"ladle_policy": "import sys; print('E ladle: no checkpoint there'); sys.exit(2)"}
    monkeypatch.setattr("app.up.command", lambda node: [sys.executable, "-c", codes.get(node.name, SLEEP)])
    with Bringup(SETTINGS, log_folder=tmp_path) as bringup:
        with pytest.raises(DeploymentError, match=r"ladle_policy ended with exit code 2: .*no checkpoint there"):
            while not bringup.ended(1.0):
                pass
        assert wait_for_any(bringup.children, 0.0) is not None
    assert all(child.exit_code is not None for child in bringup.children)


def test_only_orphaned_segments_of_this_run_are_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Shared memory of a killed node goes; what a process still uses, what is older and what is not ours stays."""
    monkeypatch.setattr("app.processes.SHARED_MEMORY", tmp_path)
    monkeypatch.setattr("app.processes.BEING_BORN_S", -1.0)
    monkeypatch.setattr("app.processes._mapped_paths", lambda: {str(tmp_path / "fastdds_used")})
    for name in ("fastdds_orphan", "sem.fastdds_port7400_mutex", "fastdds_used", "another_program"):
        (tmp_path / name).write_bytes(b"x")
    remove_orphaned_shared_memory(time.time() + 60)
    assert len(list(tmp_path.iterdir())) == 4, "all are older than that run"
    remove_orphaned_shared_memory(time.time() - 60)
    assert {path.name for path in tmp_path.iterdir()} == {"fastdds_used", "another_program"}


def test_mapped_segments_are_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A segment that this process maps counts as used."""
    monkeypatch.setattr("app.processes.SHARED_MEMORY", tmp_path)
    monkeypatch.setattr("app.processes.BEING_BORN_S", -1.0)
    path = tmp_path / "fastdds_mapped"
    path.write_bytes(b"x" * mmap.PAGESIZE)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0):
        remove_orphaned_shared_memory(time.time() - 60)
        assert path.exists()
    remove_orphaned_shared_memory(time.time() - 60)
    assert not path.exists()


@pytest.mark.parametrize("controller", ["jtc", "ruckig"])
def test_the_deployment_scripts_refuse_in_one_line(controller: str, tmp_path: Path) -> None:
    """Run by path from any folder: a wrong setting is one line and exit code 2, and nothing is started."""
    script = ROOT / "real_world_deployment" / f"run_policy_end_effector_{controller}.py"
    done = subprocess.run([sys.executable, script, "--robot", "toaster"], cwd=tmp_path, capture_output=True, text=True,
                          timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines() == ["E ladle: robot:=toaster is not one of sim, franka"]


def test_ctrl_c_ends_a_run_in_order(tmp_path: Path) -> None:
    """SIGINT to `ladle up` while the arm holds: exit code 0, every node has ended by itself."""
    code = ("import logging; from app.up import run; from ladle_bringup.settings import BringupSettings\n"
            "logging.basicConfig(level=logging.INFO)\n"
            "run(BringupSettings(policy='hold', time_limit_s=60.0))")
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True) as parent:
        assert parent.stderr is not None
        lines: list[str] = []
        for line in parent.stderr:
            lines.append(line)
            if "HOMING" in line:
                break
        time.sleep(0.3)  # the way home has begun
        parent.send_signal(signal.SIGINT)
        lines += parent.stderr.readlines()
        assert parent.wait(30) == 0
    pids = [int(line.rpartition(" ")[2]) for line in lines if "runs as process" in line]
    assert len(pids) == 3
    assert not any(_is_alive(pid) for pid in pids)
    text = "".join(lines)
    assert "the node ends" in text, text
    assert "Traceback" not in text, text
    assert "E ladle" not in text, text
    assert "killing" not in text, text
