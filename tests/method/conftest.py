"""The data on which variants of the method are tried."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from forkserver.launches import ForkServer

from hvcod.tasks.criteo.preparation.generate import generate


@pytest.fixture(scope="package")
def data(
    fast_mpirun: ForkServer, tiny_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[str, Path]:
    """Prepared data of each task."""
    folder = tmp_path_factory.mktemp("clicks")
    (folder / "train.txt").write_bytes(generate(2, 0, 4000)[0])
    clicks = folder / "data"
    words = ["data", "criteo", folder / "train.txt", "--min-count", 3, "--output", clicks]
    fast_mpirun(0, "hvcod", *words)
    return {"commoncrawl": tiny_data, "criteo": clicks}
