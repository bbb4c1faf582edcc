"""The size of a model in bytes: its gradients, its published checkpoint, a teacher."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hvcod.config import TrainOptions

if TYPE_CHECKING:
    from torch import nn

    from hvcod.tasks.base import Task

_TEACHER_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2, "int8": 1}


@dataclass(frozen=True)
class ModelSize:
    """The size of a model.

    Attributes:
        parameters: Number of parameters.
        gradients: Bytes that are averaged inside a group in a step, or with ``--sgd local`` at a
            synchronisation, without embedding tables that are updated by rows.
        published: Bytes of a published checkpoint, in half precision.
        teacher: Bytes of a teacher in memory.
        weights: Bytes of all parameters that are trained.
        predicted: Bytes in which a teacher rank sends a teacher's predictions for an example; 0
            without prediction exchange, or if unknown.
    """

    parameters: int
    gradients: int
    published: int
    teacher: int
    weights: int
    predicted: int = 0


def shard_copies(options: TrainOptions) -> int | None:
    """Returns the numbers that ``--sgd async`` keeps per weight; None with another algorithm."""
    if options.sgd != "async":
        return None
    optimizer = options.optimizer
    averages = {"adam": 2, "adagrad": 1, "sgd": int(optimizer.momentum > 0)}
    return 1 + averages[optimizer.algorithm]


def of_parameters(parameters: int, precision: str = "fp32", compress: str = "none") -> ModelSize:
    """The size of a model in single precision, from its number of parameters.

    Its teachers have the `precision` of ``--teacher-precision``, its gradients travel as
    ``--compress`` says.
    """
    single, teacher = 4 * parameters, _TEACHER_BYTES[precision] * parameters
    sent = single // _shrunk(compress)
    return ModelSize(parameters, sent, 2 * parameters, teacher=teacher, weights=single)


def of_training(options: TrainOptions) -> ModelSize:
    """The size of the model that a run would train. Builds it, and so imports torch.

    Raises:
        UsageError: There is no such task.
        HvcodError: The data, on which the model's size depends, cannot be read.
    """
    from hvcod.codistill.average import sparse_tables
    from hvcod.codistill.teachers.precision import bytes_of
    from hvcod.groups.communicator import Alone
    from hvcod.groups.split import split
    from hvcod.tasks import load_task

    task = load_task(options.task)(options, split(Alone()))
    model = task.build_model()
    by_rows = sparse_tables(model)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    tensors = model.state_dict().values()
    gradients = sum(parameter.nbytes for parameter in trained if parameter not in by_rows)
    return ModelSize(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        gradients=gradients // _shrunk(options.compress),
        published=sum(2 * t.numel() if t.is_floating_point() else t.nbytes for t in tensors),
        teacher=bytes_of(model, options.codistill.teacher_precision),
        weights=sum(parameter.nbytes for parameter in trained),
        predicted=_predicted(task, model) if options.codistill.teacher_ranks else 0,
    )


def _shrunk(compress: str) -> int:
    """Returns how many times smaller gradients are when they travel."""
    return 1 if compress == "none" else 2


def _predicted(task: "Task", model: "nn.Module") -> int:
    """Returns the bytes of the predictions for an example, as teacher ranks send them."""
    from hvcod.codistill.predictions.packing import sent

    options = task.options
    batch = task.training_data().next()
    logits, _ = task.predict(model, batch.inputs, None)
    packing = sent(options.codistill, logits, task.likelihood)
    rows = logits.numel() // (packing.classes or 1)
    return rows * packing.row.itemsize // options.batch_size
