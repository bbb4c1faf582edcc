"""Predictions packed into few bytes, to be stored in a file or sent in one message."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hvcod.codistill.predictions.sampled import Prediction, Sampled, sample, top
from hvcod.config import CodistillOptions
from hvcod.errors import HvcodError, UsageError

KINDS = ("whole", "sample", "top")

Rows = npt.NDArray[np.void]
"""Packed predictions, [N] of `Packing.row`: contiguous, so ``rows.view(np.uint8)`` is a message."""


@dataclass(frozen=True)
class Packing:
    """The form in which predictions are packed.

    Whole ones are logits in half precision. Of a sample the classes suffice, as each draw weighs
    the same; the likeliest classes have their weights in half precision.

    Attributes:
        classes: The number of classes; None if predictions are binary.
        kind: One of `KINDS`: whole, an unbiased sample of k classes, or the k likeliest ones.
        k: Classes of each prediction; 0 if it is whole.
        temperature: The temperature of sampled distributions; whole ones fit any.

    Raises:
        UsageError: The form does not fit the classes.
    """

    classes: int | None
    kind: str = "whole"
    k: int = 0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if (
            self.kind not in KINDS
            or self.temperature <= 0
            or (self.kind == "whole") != (not self.k)
        ):
            raise UsageError(f"no such form of predictions: {self}")
        if self.k and self.classes is None:
            raise UsageError("predictions of a yes or no are whole: there are no classes to choose")
        if self.kind == "top" and self.classes is not None and self.k > self.classes:
            raise UsageError(f"the {self.k} likeliest of {self.classes} classes: there are fewer")

    @property
    def row(self) -> np.dtype[np.void]:
        """The type of one packed prediction: fields ``logits``, or ``classes`` and ``weights``."""
        if self.kind == "whole":
            return np.dtype([("logits", "<f2", () if self.classes is None else (self.classes,))])
        fields = [("classes", "<u2" if (self.classes or 0) <= 2**16 else "<u4", (self.k,))]
        return np.dtype(fields + [("weights", "<f2", (self.k,))] * (self.kind == "top"))

    @property
    def described(self) -> str:
        """The form in words."""
        if self.kind == "whole":
            return "one number each" if self.classes is None else f"{self.classes} classes each"
        kind = "a sample of" if self.kind == "sample" else "the likeliest"
        return f"{kind} {self.k} of {self.classes} classes each"

    def pack(self, logits: Tensor, offsets: npt.NDArray[np.float64]) -> Rows:
        """Packs predictions.

        Args:
            logits: [..., classes]; of any shape if they are binary.
            offsets: A random number in [0, 1) for each prediction, of which only samples make use.

        Raises:
            HvcodError: Logits are NaN or infinite, or there is another number of classes.
        """
        if self.classes is not None and logits.shape[-1] != self.classes:
            raise HvcodError(f"{logits.shape[-1]} classes are predicted, expected {self.classes}")
        logits = logits.detach().reshape(-1, *([] if self.classes is None else [self.classes]))
        if not logits.isfinite().all():
            raise HvcodError("a teacher's logits are NaN or infinite")
        rows = np.zeros(len(logits), self.row)
        if self.kind == "whole":
            largest = torch.finfo(torch.float16).max
            rows["logits"] = logits.clamp(-largest, largest).half().cpu().numpy()
        elif self.kind == "sample":
            rows["classes"] = sample(logits, self.k, offsets, self.temperature).cpu().numpy()
        else:
            indices, weights = top(logits, self.k, self.temperature)
            rows["classes"], rows["weights"] = indices.cpu().numpy(), weights.cpu().numpy()
        return rows

    def unpack(self, rows: Rows) -> Prediction:
        """Returns packed predictions: logits in float32, [N] or [N, classes], or sampled ones."""
        if self.kind == "whole":
            return torch.from_numpy(rows["logits"].astype(np.float32))
        assert self.classes is not None
        indices = torch.from_numpy(rows["classes"].astype(np.int64))
        if self.kind == "sample":
            weights = torch.full((1, 1), 1 / self.k).expand(indices.shape)
        else:
            weights = torch.from_numpy(rows["weights"].astype(np.float32))
            weights = weights / weights.sum(dim=-1, keepdim=True)
        return Sampled(indices, weights, self.classes, self.temperature)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values, from which `from_dict` makes it again."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Packing":
        """Returns the form that `to_dict` described; raises UsageError, TypeError if it is none."""
        return cls(**values)


def sent(options: CodistillOptions, logits: Tensor, likelihood: str) -> Packing:
    """Returns the form in which teacher ranks send predictions such as these logits."""
    classes = logits.shape[-1] if likelihood == "classes" else None
    if options.teacher_sample is None:
        return Packing(classes)
    return Packing(classes, "sample", options.teacher_sample, options.temperature)
