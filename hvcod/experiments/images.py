"""The experiment on images: the paper's figure 3, a batch that is large for its data."""

from hvcod.experiments.arms import always
from hvcod.experiments.base import Claim, Experiment, Options, Panel, Setting


def figure3(scale: str) -> Experiment:
    """Codistillation of image classifiers with a large batch against its alternatives."""
    setting = _SETTINGS[scale]
    arms = always(setting)
    names = [arm.name for arm in arms]
    return Experiment(
        name="figure3",
        title="two groups that teach each other classify more images right, and sooner",
        paper="ResNet-50 on ImageNet with batches of 16,384: two groups that teach each other "
        "reach 75% after 5250 steps, one group after 7250; after 7250 steps they reach 75.6%.",
        setting=setting,
        arms=arms,
        claims=[
            Claim(
                "After as many steps the accuracy of codistillation is higher: 75.6% against 75%.",
                "codistilled",
                "baseline",
                measure="final gain",
                at_least=0.01,
            ),
            Claim(
                "Codistillation reaches the best accuracy of one group in fewer steps: 5250 "
                "instead of 7250.",
                "codistilled",
                "baseline",
                at_least=1.38,
            ),
            Claim(
                "The accuracy is higher than that of one group with a tuned regulariser, too.",
                "codistilled",
                "regularised",
                measure="final gain",
                at_least=0.0,
            ),
            Claim(
                "The accuracy is higher than that of one group of all workers.",
                "codistilled",
                "doubled",
                measure="final gain",
                at_least=0.0,
            ),
        ],
        panels=[
            Panel(names, title="the weights as they are"),
            Panel(names, weights="average", title="averages of the weights"),
        ],
        metric="accuracy",
        notes=_NOTES[scale],
    )


def _smoothed(*shares: float) -> dict[str, Options]:
    return {f"label smoothing {share:g}": {"model.label_smoothing": share} for share in shares}


def _dropped(*shares: float) -> dict[str, Options]:
    return {f"dropout {share:g}": {"model.dropout": share} for share in shares}


def _doubled(examples: int, *rates: float, smoothing: float = 0.0) -> dict[str, Options]:
    """Returns candidates for a batch of so many examples: its learning rates, label smoothing."""
    smoothed = f", label smoothing {smoothing:g}" if smoothing else ""
    return {
        f"rate {rate:g}{smoothed}": {
            "optimizer.learning_rate": rate,
            "optimizer.scale_batch": examples,
            "model.label_smoothing": smoothing,
        }
        for rate in rates
    }


_CIFAR: Options = {
    "task": "imagenet",
    "preset": "laptop",
    "optimizer.schedule": "drops",
    "optimizer.drops": "0.3333,0.6667,0.8889",
}

_SETTINGS = {
    "laptop": Setting(
        text="four convolutions of 24, 48, 64 and 64 channels on 4000 images of 16 x 16 without "
        "augmentation, 256 images a step",
        options={
            **_CIFAR,
            "training_examples": 4000,
            "group_batch_size": 256,
            "steps": 390,
            "save_interval": 130,
            "validation_interval": 39,
            "validation_examples": 8000,
            "optimizer.learning_rate": 0.2,
            "optimizer.warmup": 21,
            "model.kind": "plain",
            "model.widths": "24,48,64,64",
            "model.augmentation": "none",
        },
        teaching={
            "same_data": True,
            "codistill.burn_in": 160,
            "codistill.exchange_interval": 10,
            "codistill.distill_weight": 3.0,
        },
        tuning={
            "regularised": {**_smoothed(0.1), **_dropped(0.2, 0.5)},
            "doubled": {**_doubled(512, 0.2, 0.4), **_doubled(512, 0.2, smoothing=0.1)},
        },
        average=0.95,
    ),
    "gpu": Setting(
        text="a residual network of eight layers (64, 128 and 256 channels) on images of 32 x 32, "
        "2048 images a step, bf16",
        options={
            **_CIFAR,
            "precision": "bf16",
            "group_batch_size": 2048,
            "steps": 360,
            "save_interval": 120,
            "validation_interval": 30,
            "validation_examples": 10_000,
            "optimizer.learning_rate": 0.1,
            "optimizer.warmup": 20,
            "model.widths": "64,128,256",
            "model.image_size": 32,
        },
        teaching={
            "same_data": True,
            "codistill.burn_in": 145,
            "codistill.exchange_interval": 10,
            "codistill.distill_weight": 3.0,
        },
        tuning={
            "regularised": {**_smoothed(0.1), **_dropped(0.3)},
            "doubled": {**_doubled(4096, 0.8, 1.6), **_doubled(4096, 0.8, smoothing=0.1)},
        },
        average=0.95,
    ),
    "paper": Setting(
        text="ResNet-50 on ImageNet by the recipe of Goyal et al. 2017, 16,384 images a step",
        options={"task": "imagenet", "preset": "paper", "group_batch_size": 16_384, "steps": 7250},
        teaching={"codistill.burn_in": 3000, "codistill.exchange_interval": 50},
        tuning={
            "regularised": {**_smoothed(0.1), **_dropped(0.2)},
            "doubled": {**_doubled(32_768, 6.4, 12.8), **_doubled(32_768, 6.4, smoothing=0.1)},
        },
        average=0.999,
        rank_batch=64,
    ),
}

_NOTES = {
    "laptop": (
        "The data are so few that they are learned by heart: the gain comes from that.",
        "The learning rate falls by ten at a third, two thirds and eight ninths of the steps, "
        "which decides when each arm reaches its best: steps to a level say little here.",
    ),
    "gpu": (),
    "paper": (),
}
