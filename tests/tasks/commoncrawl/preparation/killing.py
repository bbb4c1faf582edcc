"""Preparations that are killed at given moments."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

HVCOD = Path(sys.executable).with_name("hvcod")

MOMENTS = [
    "work",
    "work/plan.json",
    "work/collected/00000.zst",
    "work/collected/00000.json",
    "work/collected/00002.json",
    "work/collected/00003.first.npz",
    "tokenizer.json",
    "shards/00001-00.h5",
    "work/encoded/00001.json",
    "work/encoded/00003.json",
    "document-ids.txt",
    "report.json",
    "dataset.json",
]
"""As soon as one of these is there."""


def kill_at(command: list[str], output: Path, moment: str, env: dict[str, str]) -> bool:
    """Starts a preparation and kills all of it as soon as a file is there; whether that worked."""
    process = subprocess.Popen(
        command, env=env, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 120
    while process.poll() is None and not (output / moment).exists():
        assert time.monotonic() < deadline
        time.sleep(0.0005)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL
