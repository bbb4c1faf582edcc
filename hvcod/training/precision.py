"""The precision in which models compute: ``--precision``.

Students and teachers multiply in half precision, as autocast would have it (Micikevicius et al.,
arXiv 1710.03740). Weights, gradients and the optimiser's averages stay in single precision, and so
do losses; what is published and saved is the same as ever.
"""

import logging
from contextlib import AbstractContextManager, nullcontext

import torch

from hvcod.codistill.teachers.precision import HALVES, is_fast

log = logging.getLogger("hvcod.training")


def computing(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Returns the context in which models predict and losses are computed.

    Teachers that are held in less (``--teacher-precision``) compute in what they are held in.

    Args:
        precision: One of ``--precision``.
        device: That of the models.
    """
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, HALVES[precision])


def advise(precision: str, device: torch.device) -> None:
    """Logs a line if this processor does not multiply such numbers in hardware."""
    if precision in HALVES and device.type == "cpu" and not is_fast(precision):
        log.warning(
            "--precision %s: this CPU does not multiply such numbers in hardware, so that steps "
            "may take much longer than with fp32",
            precision,
        )
