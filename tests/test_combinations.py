"""Options that do not go together are refused, in words that name them and the reason."""

import shlex

import pytest

from hvcod.cli.options import layer
from hvcod.cli.train import command
from hvcod.config import TrainOptions, parse_assignment
from hvcod.effects import notes
from hvcod.errors import UsageError
from hvcod.runs.layers import resolve

REFUSED = {
    "--batch-size 6 --accumulate 4": "--accumulate 4 does not divide the batch of a rank, 6",
    "--compress fp16 --sgd local": "with --sgd local weights travel: leave it out",
    "--compress bf16 --sgd async": "with --sgd async weights and averages travel",
    "--sgd local --noise-interval 50": "with --sgd local no mean is made of them: leave it out",
    "--sgd async --noise-interval 50": "with --sgd async no mean is made of them: leave it out",
    "--sgd async --algorithm lamb": "--algorithm lamb goes by the norms of whole layers",
    "--sgd async --batch-warmup 9": "--batch-warmup goes by steps, in which the ranks of --sgd asy",
    "--batch-size 12 --batch-warmup 9": "of a rank, 12 examples, into eighths: choose a multiple",
    "--batch-size 12 --batch-warmup 9 --accumulate 3": "--accumulate 3: choose a multiple of 24",
    "--sgd async --staleness exact": "--sgd async cannot be repeated exactly",
    "--sgd async --exchange predictions --teacher-ranks 1": "predictions needs ranks that make",
    "--distill-loss mse --temperature 2": "--temperature 2 changes nothing with --distill-loss mse",
    "--smoothing uniform --groups 2": "--smoothing uniform takes the place of the distillation",
    "--sync-interval 5": "are options of --sgd local: add it, or leave them out with --sgd sync",
    "--outer-momentum 0.9": "--outer-learning-rate and --outer-momentum are options of --sgd loc",
    "--smoothing uniform --teacher a --teacher b": "by which --teacher a, b teaches",
    "--smoothing-weight 0.1": "--smoothing-weight is the weight of --smoothing",
    "--exchange in-process --groups 2 --group 1": "--exchange in-process trains all of them in one",
    "--exchange in-process --groups 2 --keep-states 1": "so keep 2 at least",
    "--exchange in-process --groups 2 --sgd async": "--exchange in-process needs ranks that make",
    "--same-batches --bootstrap --groups 2": "--same-batches gives all the same batches",
    "--exchange predictions": "--exchange predictions needs ranks that compute them",
    "--teacher-ranks 1": "--teacher-ranks 1 would idle with --exchange files",
    "--teacher-sample 8": "--teacher-sample is for predictions that are sent",
    "--exchange predictions --teacher-ranks 1 --teacher-sample 8 --distill-loss kl": "needs whole",
    "--exchange predictions --teacher-ranks 1 --teacher-sample 8 --teacher-limit 2": "has none",
    "--exchange predictions --teacher-ranks 1 --teacher-sample 8 --task criteo": "a yes or no each",
    "--exchange predictions --teacher-ranks 1 --smoothing uniform": "for which --teacher-ranks 1",
    "--publish-average 0.9 --sgd local": "with --sgd local each rank has others: use --sgd sync",
    "--average 0.9 --sgd async": "--average is of the weights that a group has after each step",
    "--average 0.9 --publish-average 0.99": "--average 0.9 and --publish-average 0.99: a group",
    "--validate-average": "--validate-average needs an average: add --average, such as 0.99, or",
    "--validate-ensemble --groups 2": "--validate-ensemble needs the models of all groups in one",
    "--teach-self": "--teach-self is by an average of the weights: add --publish-average",
    "--teach-self --publish-average 0.9 --smoothing uniform": "by which --teach-self teaches",
    "--teacher-precision int8 --device cuda": "layers of torch run on CPUs, not with --device cuda",
    "--teacher-precision int8 --teach-self --publish-average 0.9": "would be quantised anew",
    "--profile 9:11 --steps 10": "--profile 9:11: the run ends after --steps 10",
    "--profile 100:200": "name at most 100",
    "--groups 2 --staleness exact --max-staleness 50": "no group would ever teach",
}
"""{flags of hvcod train: a part of the message}."""

ALLOWED = [
    "--group-batch-size 6 --accumulate 4",
    "--batch-size 24 --batch-warmup 9 --accumulate 6",
    "--teacher-precision bf16 --device cuda",
    "--teacher-precision int8",
    "--teach-self --publish-average 0.9",
    "--average 0.9 --validate-average",
    "--groups 2 --exchange in-process --validate-ensemble",
    "--average 0.9 --publish-average 0.9 --validate-average",
    "",
    "--profile 1:100",
    "--distill-loss kl --temperature 2",
    "--distill-loss mse",
    "--smoothing unigram --smoothing-weight 0",
    "--teacher run --groups 2",
    "--exchange in-process --groups 3 --staleness freshest",
    "--exchange in-process --keep-states 1",
    "--groups 2 --staleness exact --max-staleness 51",
    "--preset mutual-learning --bootstrap --no-same-batches --same-data",
]

NOTED = {
    "--trust 0.1": "--trust: no effect with --algorithm adam",
    "--trust 0.1 --algorithm lars": "",
    "--validate-ensemble": "--validate-ensemble: no effect with one group",
    "--momentum 0.8 --algorithm lamb": "--momentum: no effect with --algorithm lamb",
    "--topology ring --same-data": "--topology, --same-data: no effect with one group",
    "--teacher a --set codistill.staleness=exact": "--staleness: no effect with one group",
    "--exchange predictions --teacher-ranks 1 --teacher a --staleness exact": "",
    "--temperature 2": "--temperature: no effect without a teacher: several groups, --teacher or",
    "--smoothing uniform --temperature 2 --burn-in 3": "--burn-in: no effect with --smoothing",
    "--groups 2 --teacher-wait 5": "--teacher-wait: no effect with --staleness freshest, which",
    "--groups 2 --staleness exact --keep-published 5": "--keep-published: no effect with --stale",
    "--groups 2 --whole-every 5": "",
    "--whole-every 5": "--whole-every: no effect with one group",
    "--groups 2 --whole-every 5 --sgd local": "--whole-every: no effect with --sgd local, of which",
    "--groups 2 --whole-every 5 --publish-average 0.9": "no effect with --publish-average: the",
    "--preset mutual-learning --teacher-wait 5": "--teacher-wait: no effect with --exchange in-",
    "--preset mutual-learning --same-data": "--same-data: no effect with --same-batches",
    "--groups 2 --steps 9": "of --steps 9: no teacher will be listened to",
    "--groups 2 --steps 9 --burn-in 10": "",
    "--publish-average 0.9 --teach-self --teacher-precision bf16": "",
}
"""{flags of hvcod train: a part of the notes about options without effect}."""


def options_of(flags: str) -> TrainOptions:
    given = command.make_context("train", shlex.split(flags)).params
    return resolve(None, given["assignments"], layer(TrainOptions, given))


def given_in(flags: str) -> list[str]:
    given = command.make_context("train", shlex.split(flags)).params
    named = dict(parse_assignment(each) for each in given["assignments"])
    return [*named, *layer(TrainOptions, given)]


@pytest.mark.parametrize("flags", REFUSED)
def test_what_makes_no_sense_together_is_refused(flags: str) -> None:
    with pytest.raises(UsageError) as refusal:
        options_of(flags)
    assert REFUSED[flags] in str(refusal.value)


@pytest.mark.parametrize("flags", ALLOWED)
def test_what_makes_sense_is_not(flags: str) -> None:
    options_of(flags)


@pytest.mark.parametrize("flags", NOTED)
def test_options_without_effect_are_said(flags: str) -> None:
    lines = notes(options_of(flags), given_in(flags))
    assert NOTED[flags] in "".join(lines)
    assert bool(lines) == bool(NOTED[flags])
