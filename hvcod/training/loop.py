"""The training loop (paper, Algorithm 1, as one rank of one group runs it)."""

import torch

from hvcod.codistill.codistiller import Codistiller
from hvcod.tasks.base import Task
from hvcod.training.journal import Journal, Summary
from hvcod.training.optimizer import Optimizer
from hvcod.training.run import Run
from hvcod.training.validation import common_weights, validate


def train(task: Task, run: Run, device: torch.device) -> Summary:
    """Trains the model of this rank's group to the end.

    Inside the group Horovod averages the gradients; from the other groups come stale teachers,
    whose mean prediction the model is pulled towards once the burn-in is over. Collective over the
    group.
    """
    options, group = task.options, task.group
    torch.manual_seed(group.seed(options.seed))
    model = task.build_model().to(device)
    # Same weights on all ranks of a group, but every rank drops out units of its own.
    torch.manual_seed(group.seed(options.seed, 1 + group.rank))
    optimizer = Optimizer(model, options.optimizer, options.steps)
    codistiller = Codistiller(
        model,
        group,
        options.codistill,
        run.directory,
        run.about(options, group),
        examples_per_step=group.size * options.batch_size,
        predict=task.predict,
        distillation_loss=task.distillation_loss,
    )
    journal = Journal(task, run, optimizer, codistiller)
    data, state = task.training_data(), None

    for step in range(1, options.steps + 1):
        batch = data.next().to(device)
        logits, state = task.predict(model, batch.inputs, state)
        task_loss = task.loss(logits, batch.targets)
        distill_loss = codistiller.loss(logits, batch.inputs)
        optimizer.step(task_loss + distill_loss)
        codistiller.step()
        journal.step(step, task_loss, distill_loss)
        if step % options.validation_interval == 0 or step == options.steps:
            codistiller.validation_loss = validate(task, model, device)
            journal.validated(step, codistiller.validation_loss)

    codistiller.close()
    return journal.close(common_weights(model, group))
