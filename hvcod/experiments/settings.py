"""The settings of the experiments on text, at each scale, and how their arms are tuned."""

from hvcod.experiments.base import Options, Setting

Candidates = dict[str, Options]


def text(scale: str) -> Setting:
    """Returns a language model on text, which is read again and again but at the paper's scale."""
    return {"laptop": _LAPTOP, "gpu": _GPU, "paper": _PAPER}[scale]


def _dropouts(*shares: float, **options: int) -> Candidates:
    return {f"dropout {share:g}": {**options, "model.dropout": share} for share in shares}


def _rates(options: Options, *rates: float) -> Candidates:
    return {f"rate {rate:g}": {**options, "optimizer.learning_rate": rate} for rate in rates}


def _labels(kind: str, options: Options, *weights: float) -> Candidates:
    return {
        f"weight {weight:g}": {**options, "smoothing": kind, "smoothing_weight": weight}
        for weight in weights
    }


def _intervals(options: Options, *intervals: int) -> Candidates:
    return {
        f"every {steps} steps": {**options, "local.sync_interval": steps} for steps in intervals
    }


# DiLoCo's outer step; the momentum of its paper is meant for many more synchronisations.
_OUTER: Options = {"local.outer_learning_rate": 0.7, "local.outer_momentum": 0.9}
_FAINT: Options = {"local.outer_learning_rate": 0.7, "local.outer_momentum": 0.5}

# 100,000 tokens are read ten times in 1000 steps. Without a regulariser one group is at its best
# after some 400 steps; with dropout its loss still falls slowly after 1000. Rates of half and twice
# as much were no better for it. In seconds of an EPYC core, with all validations: one group 43 for
# 1000 steps, twice the workers 65, two groups that teach each other 70 for 700 steps, four 190.
_TWICE: Options = {"group_batch_size": 64, "steps": 1000, "model.dropout": 0.2}
_OF_TWICE = {
    **_rates(_TWICE, 0.01, 0.014, 0.02),
    **{
        f"rate 0.01, {name}": {**_TWICE, "optimizer.learning_rate": 0.01, **dropout}
        for name, dropout in _dropouts(0.1, 0.3, 0.4).items()
    },
}

_LAPTOP = Setting(
    text="one LSTM layer of 128 units with layer normalisation, embeddings of 64; 100,000 tokens "
    "of text in 49 pieces, read again and again, 32 documents x 32 tokens a step; Adam at a "
    "constant rate",
    options={
        "task": "commoncrawl",
        "preset": "laptop",
        "training_examples": 3136,
        "group_batch_size": 32,
        "steps": 1000,
        "save_interval": 250,
        "validation_interval": 50,
        "validation_examples": 1920,
        "optimizer.learning_rate": 1e-2,
        "optimizer.beta2": 0.99,
        "optimizer.warmup": 50,
    },
    teaching={
        "same_data": True,
        "steps": 700,
        "codistill.burn_in": 150,
        "codistill.exchange_interval": 25,
    },
    tuning={
        "baseline": {"": {"steps": 600}},
        "regularised": _dropouts(0.1, 0.2, 0.3, 0.4, steps=1500),
        "uniform": _labels("uniform", {"steps": 600}, 0.1, 0.3),
        "unigram": _labels("unigram", {"steps": 600}, 0.1, 0.3),
        "doubled": _OF_TWICE,
        "ensemble": _dropouts(0.0, 0.2),
        "self-taught": _dropouts(0.0, 0.2),
        "half": _dropouts(0.2, 0.4),
        "doubled-warm-up": _rates({**_TWICE, "batch_warmup": 150}, 0.014),
        "teachers": {"": {"steps": 400}},
        "student": {"": {"steps": 600}},
        "local": _intervals(_TWICE, 5, 25),
        "diloco": {
            **_intervals({**_TWICE, **_OUTER}, 10, 25),
            "every 10 steps, momentum 0.5": {**_TWICE, **_FAINT, "local.sync_interval": 10},
        },
        "workers-1": _rates({"group_batch_size": 32, "steps": 1500, "model.dropout": 0.2}, 0.01),
        "workers-2": _OF_TWICE,
        "workers-4": _rates({**_TWICE, "group_batch_size": 128, "steps": 700}, 0.014, 0.02),
        "workers-8": _rates({**_TWICE, "group_batch_size": 256, "steps": 500}, 0.02, 0.028),
        "two-of-4": _rates({"group_batch_size": 128, "steps": 500}, 0.014, 0.02),
    },
    average=0.98,
)

# Not run on a GPU yet. Meant for a minute a run of one group, and for half an hour for three seeds
# of figure 2a if four runs share a GPU (--at-once 4).
_GPU = Setting(
    text="two LSTM layers of 1024 units with layer normalisation, embeddings of 512; 10 million "
    "tokens of text, read again and again, 1024 documents x 32 tokens a step; Adam at a constant "
    "rate; bf16",
    options={
        "task": "commoncrawl",
        "preset": "paper",
        "precision": "bf16",
        "training_examples": 312_500,
        "group_batch_size": 1024,
        "steps": 800,
        "save_interval": 200,
        "validation_interval": 50,
        "validation_examples": 8192,
        "optimizer.learning_rate": 2e-3,
        "optimizer.beta2": 0.99,
        "model.embedding": 512,
    },
    teaching={"same_data": True, "codistill.burn_in": 200, "codistill.exchange_interval": 50},
    tuning={
        "baseline": _rates({}, 1e-3, 2e-3, 4e-3),
        "regularised": _dropouts(0.1, 0.3),
        "uniform": _labels("uniform", {}, 0.1),
        "unigram": _labels("unigram", {}, 0.1),
        "doubled": _rates({"model.dropout": 0.1}, 2e-3, 3e-3),
        "ensemble": _dropouts(0.0, 0.1),
        "doubled-warm-up": _rates({"model.dropout": 0.1, "batch_warmup": 200}, 2e-3),
        "teachers": {"": {"steps": 400}},
        "student": {"": {"steps": 400}},
        "local": _intervals({"model.dropout": 0.1}, 10, 50),
        "diloco": _intervals({"model.dropout": 0.1, **_OUTER}, 50, 100),
        "workers-1": _rates({"group_batch_size": 256, "model.dropout": 0.1}, 1e-3, 2e-3),
        "workers-2": _rates({"group_batch_size": 512, "model.dropout": 0.1}, 1e-3, 2e-3),
        "workers-4": _rates({"group_batch_size": 1024, "model.dropout": 0.1}, 2e-3, 3e-3),
        "workers-8": _rates({"group_batch_size": 2048, "model.dropout": 0.1}, 2e-3, 3e-3),
        "two-of-4": _rates({"group_batch_size": 1024}, 2e-3, 3e-3),
    },
)

# Section 3: 128 workers a group, 128 documents each. Its learning rates (0.1 to 0.4) belong to its
# own scale of Adam and of the loss.
_PAPER = Setting(
    text="the paper's model and batches on endless text: two LSTM layers of 1024 units with layer "
    "normalisation, embeddings of 256; groups of 128 workers with 128 documents x 32 tokens each",
    options={"task": "commoncrawl", "preset": "paper", "group_batch_size": 128 * 128},
    teaching={"codistill.burn_in": 3000, "codistill.exchange_interval": 50},
    tuning={
        "baseline": _rates({}, 1e-3, 2e-3),
        "regularised": _dropouts(0.1),
        "uniform": _labels("uniform", {}, 0.1),
        "unigram": _labels("unigram", {}, 0.1),
        "doubled": _rates({}, 1e-3, 2e-3, 3e-3),
        "doubled-warm-up": _rates({"batch_warmup": 3000}, 2e-3),
        "teachers": {"": {"steps": 18_000}},
        "student": {"": {"steps": 9000}},
        "local": _intervals({}, 10, 50),
        "diloco": _intervals(_OUTER, 100, 500),
        **{
            f"workers-{times}": _rates({"group_batch_size": times * 32 * 128}, 5e-4, 1e-3, 2e-3)
            for times in (1, 2, 4, 8)
        },
        "two-of-4": _rates({"group_batch_size": 4 * 32 * 128}, 1e-3, 2e-3),
    },
    average=0.999,
    rank_batch=128,
)
