"""The size of a model in bytes: its gradients, its published checkpoint, a teacher."""

from dataclasses import dataclass

from hvcod.config import TrainOptions


@dataclass(frozen=True)
class ModelSize:
    """The size of a model.

    Attributes:
        parameters: Number of parameters.
        gradients: Bytes that are averaged inside a group in a step, without embedding tables that
            are updated by rows.
        published: Bytes of a published checkpoint, in half precision.
        teacher: Bytes of a teacher in memory.
        weights: Bytes that ``--sgd local`` averages at a synchronisation: all that is trained.
    """

    parameters: int
    gradients: int
    published: int
    teacher: int
    weights: int


def of_parameters(parameters: int) -> ModelSize:
    """The size of a model in single precision, from its number of parameters."""
    single = 4 * parameters
    return ModelSize(parameters, single, 2 * parameters, teacher=single, weights=single)


def of_training(options: TrainOptions) -> ModelSize:
    """The size of the model that a run would train. Builds it, and so imports torch.

    Raises:
        UsageError: There is no such task.
        HvcodError: The data, on which the model's size depends, cannot be read.
    """
    from torch import nn

    from hvcod.groups.communicator import Alone
    from hvcod.groups.split import split
    from hvcod.tasks import load_task

    model = load_task(options.task)(options, split(Alone())).build_model()
    tables = [m for m in model.modules() if isinstance(m, nn.Embedding) and m.sparse]
    by_rows = {id(table.weight) for table in tables}
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    tensors = model.state_dict().values()
    return ModelSize(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        gradients=sum(parameter.nbytes for parameter in trained if id(parameter) not in by_rows),
        published=sum(2 * t.numel() if t.is_floating_point() else t.nbytes for t in tensors),
        teacher=sum(tensor.nbytes for tensor in tensors),
        weights=sum(parameter.nbytes for parameter in trained),
    )
