"""What a training step costs: beside a hand-written loop, with a teacher, and for the exchange.

Real launches under mpirun, on random tokens: the time of a step does not depend on the text.
"""

import atexit
import functools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from bench.row import Row, measure_pair, summarise_pair

from hvcod.codistill.teachers.precision import is_fast
from hvcod.tasks.commoncrawl.tokens.dataset import ShardInfo, describe_dataset, shard_image

VOCABULARY = 24006
PAPER = {"embedding": 256, "hidden": 1024, "layers": 2}
SMALL = {"embedding": 64, "hidden": 128, "layers": 1}
HANDWRITTEN = Path(__file__).parent / "programs" / "handwritten.py"
PAIRS, TINY_PAIRS = 3, 2
WAITING = ("data_s", "step_s")
GROUPS = ("--groups", 2, "--exchange-interval", 3)
FLOATS_BOUND = "the teacher's forward pass is a third of the products of a student's step"
HALVES_BOUND = "half of a float32 teacher's forward pass is left: without AMX bf16 is twice as fast"
SENT_BOUND = "two more passes of the loss over the vocabulary, and reading what arrives"
CORE = {"OMP_NUM_THREADS": "1"}


def plain_step(tiny: bool) -> Row:
    """A synchronous step of two ranks against the shortest hand-written Horovod loop."""
    return _plain("plain_step", tiny, 2, SMALL)


def plain_step_alone(tiny: bool) -> Row:
    """The same, one rank."""
    return _plain("plain_step_alone", tiny, 1, SMALL)


def plain_step_paper(tiny: bool) -> Row:
    """The same, two ranks and the paper's model."""
    return _plain("plain_step_paper", tiny, 2, _sizes(tiny))


def plain_step_paper_alone(tiny: bool) -> Row:
    """The same, one rank and the paper's model."""
    return _plain("plain_step_paper_alone", tiny, 1, _sizes(tiny))


def _plain(name: str, tiny: bool, ranks: int, sizes: Mapping[str, int]) -> Row:
    """Both loops compute with one thread a rank."""
    rows, repeats = 8, TINY_PAIRS if tiny else PAIRS
    # Of the small model the mean of ten steps counts as one measurement.
    steps, mean_of = (4, 1) if tiny else (8, 1) if sizes == PAPER else (40, 10)
    pairs = []
    for _ in range(repeats):
        ours = train(ranks, sizes, rows, steps, "--log-interval", mean_of, env=CORE)
        words = [data(), *sizes.values(), rows, steps, mean_of]
        theirs = float(_mpirun(ranks, sys.executable, HANDWRITTEN, *words, env=CORE))
        pairs.append((_step_s(ours), theirs))
    return _row(name, pairs, target=0.95)


def startup(tiny: bool) -> Row:
    """Seconds until 16 ranks have made their first step, against as many imports of torch alone."""
    ranks, pairs = 2 if tiny else 16, []
    for _ in range(TINY_PAIRS if tiny else PAIRS):
        pairs.append((_first_step_s(ranks), _imports_s(ranks)))
    return _row("startup", pairs, target=1.3)


def _imports_s(processes: int) -> float:
    """Seconds in which so many processes import torch side by side."""
    begun, words = time.perf_counter(), [sys.executable, "-c", "import torch"]
    environment = {**os.environ, **CORE}
    for process in [subprocess.Popen(words, env=environment) for _ in range(processes)]:
        process.wait()
    return time.perf_counter() - begun


def _first_step_s(ranks: int) -> float:
    """Seconds from the start of a launch to the line about its first step."""
    with tempfile.TemporaryDirectory() as folder:
        metrics = Path(folder) / "run" / "group-0" / "metrics.jsonl"
        begun = time.perf_counter()
        words = ["mpirun", "-np", ranks, *_command(metrics.parents[1], SMALL, 1, 1)]
        process = subprocess.Popen(
            [str(word) for word in words], stdout=subprocess.PIPE, env={**os.environ, **CORE}
        )
        while not (metrics.exists() and "step_s" in metrics.read_text()):
            if process.poll() is not None:
                raise RuntimeError(f"the launch ended with {process.returncode}")
            time.sleep(0.01)
        taken = time.perf_counter() - begun
        process.communicate()
    return taken


def help_page(tiny: bool) -> Row:
    """``hvcod --help`` against ``python -c pass``."""
    pair = measure_pair(
        lambda: subprocess.run(["hvcod", "--help"], stdout=subprocess.DEVNULL, check=True),
        lambda: subprocess.run([sys.executable, "-c", "pass"], check=True),
        repeats=TINY_PAIRS if tiny else 15,
    )
    return pair.row("help_page", 10.0)


def distillation_step(tiny: bool) -> Row:
    """A step with one float32 teacher against one without: the paper's model, a core per group."""
    return _taught("distillation_step", tiny, 1.12, FLOATS_BOUND, 2, *GROUPS)


def distillation_step_bf16(tiny: bool) -> Row:
    """The same with a teacher in bf16, which the processor may multiply in hardware."""
    words = [*GROUPS, "--teacher-precision", "bf16"]
    target = 1.06 if is_fast("bf16") else 1.12
    return _taught("distillation_step_bf16", tiny, target, HALVES_BOUND, 2, *words)


def bf16_step(tiny: bool) -> Row:
    """A whole step in ``--precision bf16`` against one in fp32: the paper's model, one core."""
    core, steps, pairs = {"OMP_NUM_THREADS": "1"}, 4, []
    for _ in range(TINY_PAIRS if tiny else PAIRS):
        half, single = (
            _step_s(train(1, _sizes(tiny), 32, steps, "--precision", precision, env=core))
            for precision in ("bf16", "fp32")
        )
        pairs.append((half, single))
    bound = (
        "without AMX a CPU multiplies bf16 twice as fast as fp32 at most, and the optimizer, "
        "clipping, layer normalisation and casts stay in fp32"
    )
    return replace(_row("bf16_step", pairs, target=0.5), bound=bound)


def prediction_exchange(tiny: bool) -> Row:
    """A trainer's step with a rank that only teaches, against one without teachers: a core each.

    The paper's model, taught by a finished one whose predictions are sent whole.
    """
    return _predicted("prediction_exchange", tiny)


def sampled_prediction_exchange(tiny: bool) -> Row:
    """The same, with 64 classes of each prediction."""
    return _predicted("sampled_prediction_exchange", tiny, "--teacher-sample", 64)


def _predicted(name: str, tiny: bool, *words: object) -> Row:
    sent = ["--teacher", _teacher(tiny), "--exchange", "predictions", "--teacher-ranks", 1, *words]
    return _taught(name, tiny, 1.03, SENT_BOUND, 2, *sent)


def _taught(name: str, tiny: bool, target: float, bound: str, ranks: int, *words: object) -> Row:
    """Steps with teachers against the steps of the same runs in the burn-in, a core a rank."""
    burn_in, steps = (4, 6) if tiny else (7, 14)
    pairs = []
    for _ in range(TINY_PAIRS if tiny else PAIRS):
        run = train(ranks, _sizes(tiny), 32, steps, "--burn-in", burn_in, *words, env=CORE)
        lines = [line for line in run["metrics"] if "step_s" in line]
        # The first step is the start, and teacher ranks predict two steps ahead of the trainers.
        alone = [line["step_s"] for line in lines if 1 < line["step"] <= burn_in - 2]
        after = [line for line in lines if line["step"] > burn_in + 1]
        taught = [line["step_s"] for line in after if tiny or line["teachers"]]
        pairs.append((statistics.median(taught), statistics.median(alone)))
    return _row(name, pairs, target, bound)


def exchange_share(tiny: bool) -> Row:
    """Training-thread time for publishing, polling and switching, every 50 steps, of step time."""
    pairs = []
    for _ in range(TINY_PAIRS if tiny else PAIRS):
        interval = 2 if tiny else 50
        words = ["--groups", 2, "--burn-in", interval, "--exchange-interval", interval]
        summary = train(4, SMALL, 8, 3 * interval, *words)["summary"]
        pairs.append((summary["exchange_s"], summary["step_s"]))
    return _row("exchange_share", pairs, target=0.002)


def text_waiting(tiny: bool) -> Row:
    """Seconds of a step in which the loop waited for tokens, against the step's."""
    pairs = []
    for _ in range(TINY_PAIRS if tiny else PAIRS):
        lines = [
            line for line in train(2, SMALL, 8, 4 if tiny else 60)["metrics"] if "data_s" in line
        ][1:]
        waited, taken = (statistics.mean(each[name] for each in lines) for name in WAITING)
        pairs.append((waited, taken))
    return _row("text_waiting", pairs, target=0.01)


def teacher_memory(tiny: bool) -> Row:
    """Peak memory of a publishing group root that a teacher adds, against the teacher's weights."""
    steps = 4 if tiny else 8
    peaks = [
        train(2, _sizes(tiny), 32, steps, *GROUPS, "--burn-in", burn_in)["summary"]["peak_memory"]
        for burn_in in (2, 1000)
    ]
    return Row(
        "teacher_memory", peaks[0] - peaks[1], _weight_bytes(_sizes(tiny)), 1.10, unit="bytes"
    )


def _sizes(tiny: bool) -> dict[str, int]:
    return SMALL if tiny else PAPER


def _row(name: str, pairs: list[tuple[float, float]], target: float, bound: str = "") -> Row:
    pair = summarise_pair([ours for ours, _ in pairs], [theirs for _, theirs in pairs])
    return pair.row(name, target, bound=bound)


def _step_s(run: Mapping[str, Any]) -> float:
    """Median seconds a step, the first quarter left out."""
    lines = [line["step_s"] for line in run["metrics"] if "step_s" in line]
    return float(statistics.median(lines[len(lines) // 4 :]))


def train(
    ranks: int,
    sizes: Mapping[str, int],
    rows: int,
    steps: int,
    *words: object,
    env: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The summary and the metrics of group 0 of a run."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = _command(run, sizes, rows, steps)
        printed = _mpirun(ranks, *command, *words, env=env)
        lines = (run / "group-0" / "metrics.jsonl").read_text().splitlines()
    return {"summary": json.loads(printed)[0], "metrics": [json.loads(line) for line in lines]}


def train_groups(
    ranks: int,
    sizes: Mapping[str, int],
    rows: int,
    steps: int,
    *words: object,
    env: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """The summaries of the groups of a run."""
    with tempfile.TemporaryDirectory() as folder:
        command = _command(Path(folder) / "run", sizes, rows, steps)
        summaries: list[dict[str, Any]] = json.loads(_mpirun(ranks, *command, *words, env=env))
    return summaries


def _command(run: Path, sizes: Mapping[str, int], rows: int, steps: int) -> list[object]:
    sets = [f"--set=model.{name}={size}" for name, size in sizes.items()]
    fixed = ["--data", data(), "--run-dir", run, "--batch-size", rows, "--steps", steps]
    logs = ["--log-interval", 1, "--validation-interval", steps, "--validation-examples", 8]
    return ["hvcod", "train", "--json", *fixed, *sets, *logs]


def _mpirun(ranks: int, *command: object, env: Mapping[str, str] | None = None) -> str:
    words = ["mpirun", "-np", str(ranks), *map(str, command)]
    environment = {**os.environ, **(env or {})}
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    return done.stdout


@functools.cache
def _teacher(tiny: bool) -> Path:
    """The run directory of a model of the paper's sizes that has made two steps."""
    folder = Path(tempfile.mkdtemp(prefix="hvcod-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _mpirun(1, *_command(folder / "run", _sizes(tiny), 8, 2))
    return folder / "run"


def _weight_bytes(sizes: Mapping[str, int]) -> int:
    embedding, hidden = sizes["embedding"], sizes["hidden"]
    inputs = [embedding, *[hidden] * (sizes["layers"] - 1)]
    lstm = sum(4 * hidden * (size + hidden) for size in inputs)
    return 4 * (VOCABULARY * (embedding + hidden) + lstm)


@functools.cache
def data() -> Path:
    """Random tokens of the paper's vocabulary, as a prepared dataset."""
    folder = Path(tempfile.mkdtemp(prefix="hvcod-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    tokens = np.random.default_rng(0).integers(VOCABULARY, size=(400, 4096), dtype=np.uint16)
    held_out = [index % 20 == 0 for index in range(len(tokens))]
    documents = [(str(index), row) for index, row in enumerate(tokens)]
    image, counts, _ = shard_image(documents, held_out, np.dtype(np.uint16))
    (folder / "tokens.h5").write_bytes(image)
    shard = ShardInfo(file="tokens.h5", **counts)
    content = describe_dataset(VOCABULARY, [shard], np.ones(VOCABULARY, dtype=np.int64))
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder
