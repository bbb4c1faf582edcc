"""The options of hvcod: one tree of frozen dataclasses, the only place where an option is defined.

Every option is a dataclass field made by `option` (`hvcod.schema`). The command line,
`--set key=value`, `--config FILE` and the file that a run leaves behind are all derived from these
fields. A key is the path to a field, such as ``codistill.burn_in``; keys below ``model`` belong to
the task, which brings a dataclass of its own. Which options do not go together is said in
`hvcod.combinations`. Nothing heavy is imported here: the help page reads this file.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hvcod.codistilling import CodistillOptions
from hvcod.folders import MOST_GROUPS
from hvcod.optimizing import LocalOptions, OptimizerOptions
from hvcod.presets import DEFAULT
from hvcod.registry import BASE_ALGORITHMS, TRACKERS
from hvcod.schema import (
    LARGEST_INTEGER,
    TypedField,
    fields_of,
    findable,
    flatten,
    option,
    parse_assignment,
    plain_type,
    resolve,
    to_tree,
)
from hvcod.sections import Section
from hvcod.values import Duration, Names, Paths, Steps, Window

__all__ = [
    "LARGEST_INTEGER",
    "CodistillOptions",
    "LocalOptions",
    "OptimizerOptions",
    "TrainOptions",
    "TypedField",
    "fields_of",
    "findable",
    "flatten",
    "option",
    "parse_assignment",
    "plain_type",
    "resolve",
    "to_tree",
]


@dataclass(frozen=True)
class TrainOptions:
    """All options of ``hvcod train``; the section ``model`` is the task's own dataclass."""

    codistill: CodistillOptions = field(default_factory=CodistillOptions)
    optimizer: OptimizerOptions = field(default_factory=OptimizerOptions)
    task: str = option(
        "commoncrawl",
        "task to train: a name of `hvcod task list`, or module:Class",
        common=True,
        section=Section.RUN,
    )
    data: Path | None = option(
        None,
        "folder that `hvcod data` prepared; without it the task's built-in data",
        common=True,
        section=Section.DATA,
    )
    preset: str = option(
        DEFAULT,
        "the task's defaults, such as laptop or paper; mutual-learning makes any task's two groups "
        "learn as in Zhang et al. 2017, alone or as in paper,mutual-learning",
        common=True,
        result=False,  # but what it sets is compared
        section=Section.RUN,
    )
    run_dir: Path | None = option(
        None,
        "folder of the run, shared by all groups; default runs/TASK-TIME",
        launch=True,
        section=Section.RUN,
    )
    groups: int = option(
        1, "number of groups", minimum=1, maximum=MOST_GROUPS, common=True, section=Section.RUN
    )
    group: int | None = option(
        None,
        "this launch is group I of --groups; the others are launches that share --run-dir (on one "
        "node, give each its own CUDA_VISIBLE_DEVICES); what it sets differently, such as "
        "--set model..., is kept for that group",
        minimum=0,
        launch=True,
        section=Section.CLUSTER,
    )
    fresh: bool = option(
        False,
        "start anew; otherwise a run directory is resumed where it stopped",
        launch=True,
        section=Section.SAVING,
    )
    force: bool = option(
        False, "with --fresh: delete the run that is there", launch=True, section=Section.SAVING
    )
    other_data: bool = option(
        False,
        "resume with other examples of the same meaning, which are read from their beginning; "
        "otherwise they are refused",
        launch=True,
        section=Section.SAVING,
    )
    time_limit: Duration | None = option(
        None,
        "save and exit with 75 within this time, such as 3h55m",
        minimum=1,
        launch=True,
        section=Section.CLUSTER,
    )
    silence_limit: Duration = option(
        Duration(300),
        "end the launch if a rank of a group has been silent for this long, such as 5m, for "
        "example because the network is down; 0: never, and a rank that is killed goes unnoticed "
        "if the launcher does not end the others",
        minimum=0,
        launch=True,
        section=Section.CLUSTER,
    )
    save_interval: int = option(
        500, "steps between two training states", minimum=1, result=False, section=Section.SAVING
    )
    keep_states: int = option(
        2, "training states that each group keeps", minimum=1, result=False, section=Section.SAVING
    )
    keep_best: str | None = option(
        None,
        "also keep the training state whose validation was best by this metric, such as loss, for "
        "`hvcod evaluate RUN --which best`",
        result=False,
        section=Section.SAVING,
    )
    sgd: str = option(
        "sync",
        "how a group's ranks train one model: sync averages their gradients at each step; local "
        "averages their weights at each --sync-interval, and each trains by itself in between; "
        "async applies each gradient on its own, to weights that others have moved meanwhile",
        choices=BASE_ALGORITHMS,
        section=Section.OPTIMIZER,
    )
    compress: str = option(
        "none",
        "how gradients travel between the ranks of a group: as they are, or as fp16 or bf16 in "
        "half of the bytes; they are summed in single precision",
        choices=("none", "fp16", "bf16"),
        section=Section.OPTIMIZER,
    )
    nonfinite: str = option(
        "stop",
        "what to do when the gradient is NaN or infinite: stop the group, or skip the step",
        choices=("stop", "skip"),
        result=False,  # of a run that has not met any
        section=Section.OPTIMIZER,
    )
    local: LocalOptions = field(default_factory=LocalOptions)
    steps: int = option(1000, "training steps", minimum=1, common=True, section=Section.RUN)
    batch_size: int = option(
        32, "examples per rank and step", minimum=1, common=True, section=Section.RUN
    )
    group_batch_size: int | None = option(
        None,
        "examples per group and step, instead of --batch-size",
        minimum=1,
        common=True,
        section=Section.RUN,
    )
    batch_warmup: int = option(
        0,
        "first steps with smaller batches: an eighth in the first third of them, then a quarter, "
        "then half; each batch that is read makes as many updates (with --scale-batch the learning "
        "rate follows the batch)",
        minimum=0,
        section=Section.OPTIMIZER,
    )
    seed: int = option(
        1,
        "seed of the run; every group derives its own",
        minimum=0,
        common=True,
        section=Section.RUN,
    )
    order_seed: int | None = option(
        None,
        "seed of all that is random about the data; default: --seed",
        minimum=0,
        common=True,
        section=Section.RUN,
    )
    smoothing: str = option(
        "none",
        "label smoothing in place of distillation, from the first step: a term of the loss that "
        "matches the uniform distribution, or that of the classes in the training data (unigram)",
        choices=("none", "uniform", "unigram"),
        section=Section.CODISTILLATION,
    )
    smoothing_weight: float | None = option(
        None,
        "weight of that term, instead of --distill-weight; default: 0.1",
        minimum=0.0,
        section=Section.CODISTILLATION,
    )
    same_data: bool = option(
        False,
        "all groups read the same documents, each in its own order",
        common=True,
        section=Section.DATA,
    )
    same_batches: bool = option(
        False,
        "all groups learn from the same batches, those of a run with one group",
        common=True,
        section=Section.DATA,
    )
    teacher: Paths = option(
        Paths(),
        "a finished model that teaches too, from its run directory (the newest weights of each of "
        "its groups), published checkpoint, training state or exported file, or from a store of "
        "its predictions (`hvcod predict --teacher-store`)",
        common=True,
        section=Section.CODISTILLATION,
    )
    bootstrap: bool = option(
        False,
        "each group reads a sample of its own, with replacement: as many as it has examples, the "
        "same in each epoch (with --same-data: drawn from all examples)",
        common=True,
        section=Section.DATA,
    )
    training_examples: int | None = option(
        None,
        "train on so many examples of the training part, spread evenly over it; default: all",
        minimum=1,
        common=True,
        section=Section.DATA,
    )
    training_window: Window | None = option(
        None,
        "train on this share of the training part, in the order of the data, such as 0:0.8 for the "
        "first four fifths; default: all of it",
        common=True,
        section=Section.DATA,
    )
    training_bootstrap: int | None = option(
        None,
        "train on a sample of the training part with replacement, as many examples as there are, "
        "which follows from this seed: the same one for all groups, unlike that of --bootstrap",
        minimum=0,
        common=True,
        section=Section.DATA,
    )
    init: Path | None = option(
        None,
        "begin with the weights in this file instead of random ones: safetensors or a state dict "
        "(.pt) of hvcod export or of anybody, or a training state, published checkpoint or run",
        section=Section.MODEL,
    )
    device: str = option(
        "auto",
        "device to compute on",
        choices=("auto", "cpu", "cuda"),
        result=False,  # apart from the last bit
        section=Section.MODEL,
    )
    precision: str = option(
        "fp32",
        "how students and teachers compute: fp32; or bf16 or fp16, half precision where it is "
        "enough (autocast), fp16 with a scale of the loss that adapts; weights stay fp32",
        choices=("fp32", "bf16", "fp16"),
        section=Section.MODEL,
    )
    compile: bool = option(
        False,
        "compile students and teachers (torch.compile), which takes a minute or more at each start "
        "and can make steps shorter",
        result=False,  # apart from the last bit
        section=Section.MODEL,
    )
    accumulate: int = option(
        1,
        "parts of a rank's batch that are learned one after the other, which takes less memory and "
        "makes the same update but for batch normalisation and dropout: --batch-size stays "
        "examples per rank and step",
        minimum=1,
        result=False,  # apart from the last bits, batch normalisation and dropout
        section=Section.MODEL,
    )
    average: float | None = option(
        None,
        "keep an exponential moving average of the weights with this decay, such as 0.99, beside "
        "them: for --validate-average and `hvcod evaluate --weights average`; --publish-average "
        "keeps one, too",
        minimum=0.01,
        maximum=0.999999,
        section=Section.MODEL,
    )
    log_interval: int = option(
        10,
        "steps between two lines of metrics",
        minimum=1,
        result=False,
        section=Section.VALIDATION,
    )
    validation_interval: int = option(
        100, "steps between two validations", minimum=1, result=False, section=Section.VALIDATION
    )
    validation_examples: int | None = option(
        4096,
        "largest number of validation examples to score",
        minimum=1,
        result=False,
        section=Section.VALIDATION,
    )
    validation_parts: int = option(
        1,
        "also measure each of so many disjoint parts of the validation examples, which take turns "
        "(validation_parts): with 2, choose by the first and report the second",
        minimum=1,
        result=False,
        section=Section.VALIDATION,
    )
    validate_average: bool = option(
        False,
        "also validate the average of --average or --publish-average (validation_average_loss and "
        "so on)",
        result=False,
        section=Section.VALIDATION,
    )
    validate_ensemble: bool = option(
        False,
        "with --exchange in-process: also validate the mean of all groups' predictive "
        "distributions (validation_ensemble_loss and so on, in the lines of the last group)",
        common=True,
        result=False,
        section=Section.VALIDATION,
    )
    noise_interval: int = option(
        0,
        "measure the gradient noise scale in each step whose number this divides, such as 50; a "
        "group of one rank learns the batch of such a step in two halves; 0: never",
        minimum=0,
        result=False,  # apart from batch normalisation and dropout in those steps
        section=Section.VALIDATION,
    )
    advise: int | None = option(
        None,
        "when the run is finished, print what `hvcod advise` says of it by at most so many "
        "readings of gradients, such as 64",
        minimum=2,
        launch=True,
        section=Section.VALIDATION,
    )
    tracker: Names = option(
        Names(),
        "also follow the run by these libraries, with commas between them: tensorboard, mlflow, "
        "wandb; they write below the run directory, and use a network only if the environment says "
        "so (MLFLOW_TRACKING_URI, WANDB_MODE=online)",
        choices=TRACKERS,
        launch=True,
        section=Section.VALIDATION,
    )
    profile: Steps | None = option(
        None,
        "trace these steps of the group root by torch's profiler, such as 100 or 100:110 (both "
        "included): a file in RUN/group-I/profile for Perfetto, chrome://tracing or TensorBoard",
        launch=True,
        section=Section.VALIDATION,
    )
    model: Any = None

    @property
    def separate_groups(self) -> int:
        """The number of groups with ranks of their own: one process may train all of them."""
        return 1 if self.codistill.in_process else self.groups

    @property
    def data_seed(self) -> int:
        """The seed of everything random about the training data: order, crops of images."""
        return self.seed if self.order_seed is None else self.order_seed
