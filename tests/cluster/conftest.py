"""A cluster on one machine; it needs root."""

import subprocess
from collections.abc import Iterator, Mapping

import pytest
from cluster.hosts import Hosts, unavailable
from conftest import missing
from forkserver.launches import ForkServer


@pytest.fixture(scope="session")
def _two_hosts(
    mpi_environment: Mapping[str, str],
    fast_mpirun: ForkServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Hosts]:
    if reason := unavailable():
        missing(reason)
    version = subprocess.run(
        ["mpirun", "--version"], env=dict(mpi_environment), capture_output=True, text=True
    )
    if "Open MPI" not in version.stdout and "OpenRTE" not in version.stdout:
        pytest.skip("hosts are made for Open MPI, which this is not")
    if subprocess.run(["unshare", "--net", "--uts", "--mount", "true"]).returncode:
        pytest.skip("no namespaces on this machine: unshare is not permitted")
    with Hosts(tmp_path_factory.mktemp("hosts"), 2, mpi_environment, fast_mpirun) as hosts:
        yield hosts


@pytest.fixture
def hosts(_two_hosts: Hosts) -> Iterator[Hosts]:
    """Two hosts, ``h1`` and ``h2``, with whole links and without a launch."""
    yield _two_hosts
    _two_hosts.kill_all()
