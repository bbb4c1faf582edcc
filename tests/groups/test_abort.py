"""A failure ends the process whatever MPI does."""

import subprocess
import sys

# A stand-in for MPI: it does not come back and, as mpi4py, keeps Python's lock meanwhile.
STUCK = """
import ctypes, sys, types
from hvcod.errors import HvcodError
from hvcod.groups import abort

class World:
    def Get_size(self):
        return 2

    def Abort(self, code):
        ctypes.PyDLL(None).sleep(600)

abort.ABORT_PATIENCE = 0.5
running = {"Is_initialized": lambda: True, "Is_finalized": lambda: False}
sys.modules["mpi4py.MPI"] = types.SimpleNamespace(COMM_WORLD=World(), **running)
abort.abort(HvcodError("no network"))
"""


def test_an_abort_to_which_mpi_does_not_answer_ends_all_the_same() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1
    assert done.stderr == "hvcod: no network [rank 0]\n"
