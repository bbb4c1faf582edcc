"""hvcod in a process that can import neither mpi4py nor Horovod. Arguments: those of hvcod."""

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

MISSING = ("mpi4py", "horovod")


class Missing:
    """Finds no module of them."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name.partition(".")[0] in MISSING:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


# The fork server has imported them, and modules of hvcod that use them.
for name in [*sys.modules]:
    if name.partition(".")[0] in (*MISSING, "hvcod"):
        del sys.modules[name]
sys.meta_path.insert(0, Missing())
importlib.import_module("hvcod.cli.main").main()
