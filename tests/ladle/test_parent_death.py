"""What a killed process started ends with it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

SCRIPT = '''
import multiprocessing, os, sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from ladle.parent_death import end_with_parent

def work(folder):
    Path(folder, str(os.getpid())).touch()
    while True:
        pass

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, context, initializer=end_with_parent) as pool:
        for job in [pool.submit(work, sys.argv[1]) for _ in range(2)]:
            job.result()
'''


def lives(pid: int) -> bool:
    """Whether there is such a process, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_workers_of_a_pool_end_with_a_killed_parent(tmp_path: Path) -> None:
    """Both, though they are at work and look at nothing else."""
    script, pids = tmp_path / "pool.py", tmp_path / "pids"
    script.write_text(SCRIPT)
    pids.mkdir()
    parent = subprocess.Popen([sys.executable, str(script), str(pids)])
    deadline_s = time.monotonic() + 60.0
    while len(list(pids.iterdir())) < 2 and time.monotonic() < deadline_s:
        time.sleep(0.01)
    workers = [int(path.name) for path in pids.iterdir()]
    assert len(workers) == 2
    assert all(map(lives, workers))
    parent.kill()
    parent.wait()
    try:
        while any(map(lives, workers)) and time.monotonic() < deadline_s:
            time.sleep(0.01)
        assert not any(map(lives, workers))
    finally:
        for pid in filter(lives, workers):
            os.kill(pid, 9)
