"""Publications on one node as another one sees them, on a network file system."""

from pathlib import Path

import pytest
from filesystems import measure
from filesystems.gluster import Volume


@pytest.fixture
def nodes(volume: Volume) -> tuple[Path, Path]:
    return volume.a.mount, volume.b.mount


def test_a_publication_is_soon_seen_whole_by_the_other_node(nodes: tuple[Path, Path]) -> None:
    result = measure.publications(nodes, 30, 0.1)
    print(result.row("new names"))
    assert result.seen.wrong == 0
    assert not result.seen.failures
    assert result.written == max(result.seen.at) == 30
    assert len(result.seen.at) > 15  # on a busy machine the next one is there before it is read
    # Milliseconds, in truth some 15: what a replaced file takes is no less than 400. On a busy
    # machine a few are soon seen, the others when the reader gets its turn.
    assert min(result.latencies) < 250


def test_publications_as_fast_as_they_go_are_seen_whole(nodes: tuple[Path, Path]) -> None:
    result = measure.publications(nodes, 60, 0.0)
    print(result.row("as fast as it goes"))
    assert result.seen.wrong == 0
    assert len(result.seen.at) >= 20
    assert max(result.seen.at) == 60
    # Pruned between listing and reading, or while being read.
    assert result.seen.failures.keys() <= {"ENOENT", "ESTALE"}


def test_killed_writers_never_leave_a_bad_checkpoint_to_the_other_node(
    nodes: tuple[Path, Path],
) -> None:
    result, interrupted = measure.kills(nodes, 10, seed=3)
    print(result.row(f"writers killed, {interrupted} in mid-file"))
    assert result.seen.wrong == 0
    assert len(result.seen.at) >= 5
    assert result.seen.failures.keys() <= {"ENOENT", "ESTALE"}
