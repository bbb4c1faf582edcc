"""The kinds of processors that a group computed on: another kind may change the last bit."""

import functools
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from hvcod.groups.split import Group
from hvcod.training.record.source import Source

PROBLEM = "another processor"


class Processors(Source):
    """The history of a group's processors, a source of the journal.

    Sums are rounded in another order where vectors are longer, so a run that goes on elsewhere ends
    with nearly the same weights, not with the same bits.
    """

    def __init__(self, group: Group, device: torch.device) -> None:
        self._group, self._device = group, device
        self._kinds: list[tuple[int, str]] = []

    def begin(self, step: int) -> str:
        """Notes the processors on which the group goes on after so many steps. Collective.

        Returns their kind, or kinds, on every rank.
        """
        kind = ", ".join(sorted(set(self._group.comm.allgather(processor(self._device)))))
        if not self._kinds or self._kinds[-1][1] != kind:
            self._kinds.append((step, kind))
        return kind

    @property
    def problems(self) -> Mapping[str, int]:
        """The number of changes; on the group root."""
        changes = len(self._kinds) - 1
        return {PROBLEM: changes} if changes > 0 and self._group.is_root else {}

    @property
    def reasons(self) -> Mapping[str, str]:
        """The last change."""
        if not self.problems:
            return {}
        (_, before), (step, now) = self._kinds[-2:]
        return {
            PROBLEM: f"{before} until step {step}, {now} since: results may differ in the last bit"
        }

    def state_dict(self) -> list[list[int | str]]:
        """Returns the steps from which on, and the kinds of processors on which, it computed."""
        return [list(each) for each in self._kinds]

    def load_state_dict(self, state: Sequence[Sequence[int | str]], /) -> None:
        """Goes on from what `state_dict` returned."""
        self._kinds = [(int(step), str(kind)) for step, kind in state]


def processor(device: torch.device) -> str:
    """Returns the kind of a GPU, or of this machine's CPU and its vectors: ``... (AVX512)``."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    return f"{_cpu()} ({torch.backends.cpu.get_cpu_capability()})"


@functools.cache
def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return " ".join(value.split())
    except (OSError, UnicodeDecodeError):
        pass
    return platform.machine()
