"""Runs a script as Python does and tells what its Codistillers did. Arguments: script and its.

Its steps take longer, so that on a busy machine too some are left when teachers have come.
"""

import runpy
import sys
import time
from unittest.mock import patch

from hvcod import Codistiller

close, step = Codistiller.close, Codistiller.step


def tell_and_close(self: Codistiller, publish: bool = True) -> None:
    print(f"exchanges {self.exchanges} staleness {self.mean_staleness}", flush=True)
    close(self, publish)


def wait_and_step(self: Codistiller) -> None:
    time.sleep(0.01)
    step(self)


if __name__ == "__main__":
    patch.object(Codistiller, "close", tell_and_close).start()
    patch.object(Codistiller, "step", wait_and_step).start()
    sys.argv = sys.argv[1:]
    runpy.run_path(sys.argv[0], run_name="__main__")
