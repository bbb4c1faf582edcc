"""The loss over the paper's word pieces with a teacher, against what one writes in PyTorch.

The task loss and the distillation loss of a window of tokens, from the features of the last layer
of student and teacher to the gradients of features, weights and biases.
"""

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import torch
from bench.lstm import one_thread
from bench.row import NotMeasuredError, Row, measure_pair
from torch import Tensor, nn
from torch.nn import functional as F

from hvcod.codistill.joint import CrossEntropy, Terms, joint
from hvcod.codistill.losses import named_loss
from hvcod.codistill.projected import Projected

CLASSES, UNITS = 24016, 1024
"""The outputs of the paper's softmax, rounded up as in `Softmax`, and the units of its LSTM."""

TOKENS = 32 * 32
MANY_TOKENS = 64 * 32
BYTES = 2**20

Step = Callable[[], float]


def loss_time(tiny: bool) -> Row:
    """Seconds of both losses and their gradient on one core."""
    with one_thread():
        pair = measure_pair(*_steps(*_sizes(tiny, TOKENS)), 2 if tiny else 5)
    return pair.row("loss_time", 1.0)


def loss_memory(tiny: bool) -> Row:
    """Peak memory of both losses and their gradient beyond that of models and batch."""
    torch.set_num_threads(1)
    tokens, classes, units = _sizes(tiny, MANY_TOKENS)
    context = multiprocessing.get_context("fork")
    peaks = []
    for index in range(2):
        # In a process of its own, which has no freed memory to use again.
        with context.Pool(1) as pool:
            peaks.append(pool.apply(_peak, (index, tokens, classes, units)))
    return Row("loss_memory", peaks[0], peaks[1], 0.25, unit="MiB")


def loss_time_gpu(tiny: bool) -> Row:
    """Seconds of both losses and their gradient on a GPU, in bf16."""
    steps = _steps(*_sizes(tiny, 4 * MANY_TOKENS), device=_gpu())
    pair = measure_pair(*steps, 2 if tiny else 21)
    return pair.row("loss_time_gpu", 0.6)


def loss_memory_gpu(tiny: bool) -> Row:
    """Peak memory of both losses and their gradient on a GPU, in bf16, beyond models and batch."""
    peaks = []
    for step in _steps(*_sizes(tiny, 4 * MANY_TOKENS), device=_gpu()):
        step()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step()
        peaks.append((torch.cuda.max_memory_allocated() - before) / BYTES)
    return Row("loss_memory_gpu", peaks[0], peaks[1], 0.25, unit="MiB")


def _sizes(tiny: bool, tokens: int) -> tuple[int, int, int]:
    return (64, 1000, 16) if tiny else (tokens, CLASSES, UNITS)


def _gpu() -> str:
    if not torch.cuda.is_available():
        raise NotMeasuredError("needs a GPU")
    return "cuda"


def _steps(tokens: int, classes: int, units: int, device: str = "cpu") -> tuple[Step, Step]:
    """Both losses and their gradient as hvcod and as plain PyTorch compute them.

    In bf16 on a GPU. Both return the loss, for which a GPU is waited.
    """
    torch.manual_seed(0)
    student, teacher = (nn.Linear(units, classes, device=device) for _ in range(2))
    teacher.requires_grad_(False)
    features, taught = (torch.randn(tokens, units, device=device) for _ in range(2))
    features.requires_grad_()
    labels = torch.randint(classes, (tokens,), device=device)
    psi = named_loss("cross-entropy", "classes", reuse_logits=True).rows

    def ours() -> Tensor:
        terms = Terms(CrossEntropy(labels), [Projected(taught, teacher)], psi, 1.0)
        return joint(Projected(features, student), terms).total

    def plain() -> Tensor:
        logits = student(features)
        with torch.no_grad():
            target = teacher(taught).softmax(-1, dtype=torch.float32)
        logits = logits.float()
        return F.cross_entropy(logits, labels) + F.cross_entropy(logits, target)

    def step(loss: Callable[[], Tensor]) -> float:
        with torch.autocast(device, torch.bfloat16, enabled=device != "cpu"):
            value = loss()
        value.backward()
        student.zero_grad()
        features.grad = None
        return value.item()

    return lambda: step(ours), lambda: step(plain)


def _peak(index: int, tokens: int, classes: int, units: int) -> float:
    """The most memory in MiB that a step takes, beyond that of its inputs; of this process."""
    _steps(8, 16, 8)[index]()  # what the libraries keep, once
    step = _steps(tokens, classes, units)[index]
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew (proc(5))
    before = _status("VmRSS")
    step()
    return (_status("VmHWM") - before) / 1024


def _status(name: str) -> int:
    """A number of /proc/self/status, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))
