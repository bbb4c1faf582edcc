"""hvcod: codistillation (Anil et al. 2018) for HPC clusters, on Horovod and MPI.

A training script of one's own takes three names from here: `Groups`, `Codistiller` and
`CodistillOptions`; a program that uses trained models takes `load_model`. They are imported when
they are used, so that ``hvcod --help`` needs no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hvcod.codistill.codistiller import Codistiller
    from hvcod.config import CodistillOptions
    from hvcod.evaluation.loading import load_model
    from hvcod.groups.split import Groups

__all__ = ["CodistillOptions", "Codistiller", "Groups", "__version__", "load_model"]

__version__ = "0.2.0"

_HOMES = {
    "Codistiller": "hvcod.codistill.codistiller",
    "CodistillOptions": "hvcod.config",
    "Groups": "hvcod.groups.split",
    "load_model": "hvcod.evaluation.loading",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
