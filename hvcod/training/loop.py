"""The training loop (paper, Algorithm 1, as one rank of one group runs it)."""

import torch

from hvcod.codistill.codistiller import Codistiller
from hvcod.errors import GroupFailedError
from hvcod.groups.watchdog import Watchdog
from hvcod.registry import BASE_ALGORITHMS
from hvcod.tasks.base import Task
from hvcod.training.preemption import Preemption
from hvcod.training.prefetch import Prefetch
from hvcod.training.record.journal import Journal, Summary
from hvcod.training.run.directory import Run
from hvcod.training.signals import StopSignals
from hvcod.training.state.keeper import Keeper
from hvcod.training.state.saver import Saver
from hvcod.training.validation import common_weights, validate


def train(task: Task, run: Run, device: torch.device, signals: StopSignals) -> Summary:
    """Trains the model of this rank's group, from where it stopped, to the end or a preemption.

    Inside the group the base algorithm makes one model of what all ranks learn. The other groups
    send stale teachers: once the burn-in is over, the model is pulled towards their mean
    prediction. Collective.
    """
    options, group = task.options, task.group
    torch.manual_seed(group.seed(options.seed))
    model = task.build_model().to(device)
    # Same weights on all ranks of a group, but every rank drops out units of its own.
    torch.manual_seed(group.seed(options.seed, 1 + group.rank))
    saver = Saver(group, run.states, options.keep_states)
    preemption = Preemption(group, signals, options.time_limit, lambda: saver.seconds)
    optimizer = BASE_ALGORITHMS.load(options.sgd)(model, group, options)
    codistiller = Codistiller(
        model,
        group,
        run.directory,
        options.codistill,
        about=run.about(options, group),
        examples_per_step=group.trainers * options.batch_size,
        predict=task.predict,
        likelihood=task.likelihood,
        reuse_logits=True,
        stop=preemption.wished,
    )
    data = Prefetch(task.training_data())
    journal = Journal(task, run, optimizer, codistiller, saver)
    keeper = Keeper(task, run, device, saver, model, optimizer, codistiller, data, journal)
    step, hidden = keeper.restore()
    watchdog = Watchdog(group, options.silence_limit, lambda: step)
    reason = ""
    try:
        while step < options.steps and not (reason := preemption.reason()):
            step += 1
            batch = data.next().to(device)
            logits, next_hidden = task.predict(model, batch.inputs, hidden)
            task_loss = task.loss(logits, batch.targets)
            distill_loss = codistiller.loss(logits, batch.inputs)
            updated = optimizer.step(task_loss + distill_loss)
            hidden = next_hidden if updated else hidden
            codistiller.step()
            journal.step(step, task_loss, distill_loss, updated, data.waited)
            if step % options.validation_interval == 0 or step == options.steps:
                journal.validated(step, validate(task, model, device))
            keeper.step(step, hidden)
        ended = "preempted" if reason else "finished"
        keeper.finish(step, hidden)
    except GroupFailedError as error:
        ended, reason = "failed", str(error)
        if error.save:
            keeper.finish(step, hidden)

    data.close()
    codistiller.close(publish=ended != "failed")
    if not saver.close() and ended != "failed":
        ended, reason = "failed", f"the state of step {step} could not be saved: {saver.error}"
    summary = journal.close(common_weights(model, group), ended, reason)
    watchdog.close()
    return summary
