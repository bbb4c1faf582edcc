"""Gradients that travel in half precision (``--compress``)."""

from conftest import MpiRun


def test_means_are_those_of_rounded_gradients(fast_mpirun: MpiRun) -> None:
    assert fast_mpirun(3, "halved.py").stdout == "ok\n" * 3
