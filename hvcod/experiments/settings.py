"""The settings of the experiments: what is trained at each scale, and how arms are tuned."""

from hvcod.experiments.base import Setting

_RATES = {
    f"rate {rate:g}": {"optimizer.learning_rate": rate} for rate in (0.005, 0.01, 0.02)
}  # of one group with twice the batch

_DROPOUT = {f"dropout {share:g}": {"model.dropout": share} for share in (0.1, 0.15, 0.3)}


def text(scale: str) -> Setting:
    """Returns a language model on text, which is read again and again but at the paper's scale."""
    return {"laptop": _LAPTOP_TEXT, "gpu": _GPU_TEXT, "paper": _PAPER_TEXT}[scale]


_LAPTOP_TEXT = Setting(
    text="one LSTM layer of 128 units on 200,000 tokens of text, 64 documents x 32 tokens a step",
    options={
        "task": "commoncrawl",
        "preset": "laptop",
        "training_examples": 6250,
        "group_batch_size": 64,
        "steps": 1800,
        "save_interval": 200,
        "validation_interval": 50,
        "validation_examples": 2048,
        "optimizer.learning_rate": 1e-2,
        "optimizer.beta2": 0.99,
        "optimizer.warmup": 50,
    },
    teaching={
        "same_data": True,
        "steps": 1300,
        "codistill.burn_in": 150,
        "codistill.exchange_interval": 25,
    },
    tuning={"regularised": _DROPOUT, "doubled": _RATES},
)

_GPU_TEXT = Setting(
    text="two LSTM layers of 1024 units on 10 million tokens of text, 1024 documents x 32 tokens "
    "a step",
    options={
        "task": "commoncrawl",
        "preset": "paper",
        "precision": "bf16",
        "training_examples": 312_500,
        "group_batch_size": 1024,
        "steps": 1500,
        "save_interval": 300,
        "validation_interval": 50,
        "validation_examples": 8192,
        "optimizer.learning_rate": 2e-3,
        "model.embedding": 512,
    },
    teaching={"same_data": True, "codistill.burn_in": 300, "codistill.exchange_interval": 50},
    tuning={
        "regularised": _DROPOUT,
        "doubled": {f"rate {rate:g}": {"optimizer.learning_rate": rate} for rate in (2e-3, 3e-3)},
    },
    average=0.99,
)

_PAPER_TEXT = Setting(
    text="the paper's model on endless text, 128 workers of 128 documents x 32 tokens a group",
    options={"task": "commoncrawl", "preset": "paper", "group_batch_size": 128 * 128},
    teaching={"codistill.burn_in": 1000, "codistill.exchange_interval": 50},
    tuning={
        "regularised": {
            f"{kind} labels": {"smoothing": kind, "smoothing_weight": 0.1}
            for kind in ("uniform", "unigram")
        },
        "doubled": {f"rate {rate:g}": {"optimizer.learning_rate": rate} for rate in (1e-3, 2e-3)},
    },
    average=0.999,
    rank_batch=128,
)
