"""The doctor on two hosts with a real network between them."""

import json
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from cluster.doctor.conftest import Report
from cluster.hosts import Hosts

LIMIT = 8e6


def examined(hosts: Hosts, errors: Path, by: str, *words: object) -> Report:
    words = ("hvcod", "doctor", *words, "--groups", 2)
    launch = hosts.start("h1:2,h2:2", *words, errors=errors, by=by)
    out, _ = launch.communicate(timeout=120)
    return Report(launch.returncode, json.loads(out), errors.read_text())


@pytest.fixture
def limited(hosts: Hosts) -> Iterator[Hosts]:
    hosts.limit(LIMIT)
    yield hosts
    hosts.limit(1e9)  # as good as none


def test_the_link_between_hosts_is_measured(
    limited: Hosts, words: Sequence[object], tmp_path: Path
) -> None:
    found = examined(limited, tmp_path / "errors", "node", *words, "--megabytes", 1)
    assert found.code == 0, found
    assert not found.named("failed")
    assert found.check("launch")["found"] == "4 ranks on 2 nodes"
    assert found.check("publish")["found"].startswith("seen after ")
    assert "on 1 other node" in found.check("publish")["found"]
    measured = found.whole["measured"]
    assert (measured["allreduce_nodes"], measured["publish_nodes"]) == (2, 2)
    # Two groups share the link, and a ring of two ranks sends as much as the message has.
    assert 0.3 * LIMIT / 2 < measured["allreduce_bytes_per_s"] < 1.2 * LIMIT / 2


def test_a_run_directory_that_the_other_host_does_not_share(
    limited: Hosts, words: Sequence[object], tmp_path: Path
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(own)]
    subprocess.run([*limited.inside("h2"), *mount], check=True)
    more = ["--run-dir", own, "--patience", 8]
    found = examined(limited, tmp_path / "errors", "slot", *words, *more)
    subprocess.run([*limited.inside("h2"), "umount", str(own)], check=True)
    assert found.code == 1
    assert found.named("failed") == {"publish"}
    text = found.check("publish")["found"]
    assert text == "rank 2 on h2 does not see what rank 0 on h1 publishes"
    assert "on a file system that all nodes share" in found.check("publish")["mend"]
    # Neither group needs the link.
    assert found.whole["measured"]["allreduce_nodes"] == 1
    assert found.whole["measured"]["allreduce_bytes_per_s"] > LIMIT
