"""The language model of the paper on Common Crawl text (section 3.1)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from hvcod.codistill.projected import Predicted, Projected
from hvcod.config import TrainOptions, option
from hvcod.errors import HvcodError
from hvcod.groups.split import Group
from hvcod.tasks.base import Batch, Task, TrainingData
from hvcod.tasks.builtin import data_folder
from hvcod.tasks.commoncrawl.lstm import LayerNormLSTM
from hvcod.tasks.commoncrawl.model import LanguageModel, Layers
from hvcod.tasks.commoncrawl.serving import served
from hvcod.tasks.commoncrawl.tokens.dataset import PARTS, TokenDataset
from hvcod.tasks.commoncrawl.tokens.documents import WINDOW
from hvcod.tasks.commoncrawl.tokens.evaluation import (
    Range,
    scored_ranges,
    scored_windows,
    unigram_entropy,
)
from hvcod.tasks.commoncrawl.tokens.stream import TokenStream
from hvcod.tasks.commoncrawl.transformer import Transformer
from hvcod.tasks.serving import Served
from hvcod.tasks.shuffle import Share

SCORED_TEXTS = 32
"""Texts that an evaluation reads side by side, for any number of ranks."""


LONGEST_TEXT = 16_384
"""About the longest text, in tokens, if a whole part is evaluated: any number of ranks can share
the texts of a large one."""


@dataclass(frozen=True)
class LanguageModelOptions:
    """Sizes of the language model; the defaults are the paper's."""

    kind: str = option(
        "lstm",
        "kind of the layers: the paper's LSTM with layer normalisation, or a Transformer that "
        "remembers earlier windows",
        choices=("lstm", "transformer"),
    )
    embedding: int = option(256, "size of the token embeddings", minimum=1)
    hidden: int = option(1024, "units of an LSTM layer, or width of the transformer", minimum=1)
    layers: int = option(2, "layers of either kind", minimum=1)
    heads: int = option(8, "transformer: attention heads, which divide model.hidden", minimum=1)
    memory: int = option(
        128,
        "transformer: earlier tokens that a position sees in its layer, across windows",
        minimum=1,
    )
    dropout: float = option(0.0, "share of units dropped in training", minimum=0.0, maximum=0.9)


class CommonCrawl(Task):
    """Predicting the next word piece of web text; an example is a window of 32 tokens."""

    Options = LanguageModelOptions
    bootstraps = True
    limits_training = True
    not_compiled = (
        "hvcod.products",
        "hvcod.tasks.commoncrawl.lstm",
        "hvcod.tasks.commoncrawl.recurrence",
    )
    state_rows = 2  # lstm [layers, 2, rows, hidden], transformer [layers, memory, rows, hidden]
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        # Section 3.1 and 3.3: 128 workers a group with 128 documents each. The paper's learning
        # rates (0.1 to 0.4) belong to its own scale of Adam and of the loss.
        "paper": {
            "batch_size": 128,
            "steps": 20_000,
            "validation_interval": 500,
            "validation_examples": 16_384,
        },
        # Minutes on two cores.
        "laptop": {
            "batch_size": 16,
            "steps": 400,
            "save_interval": 100,
            "validation_interval": 50,
            "validation_examples": 512,
            "codistill.burn_in": 150,
            "optimizer.learning_rate": 5e-3,
            "optimizer.warmup": 50,
            "model.embedding": 64,
            "model.hidden": 128,
            "model.layers": 1,
        },
    }

    def __init__(self, options: TrainOptions, group: Group) -> None:
        """Opens the data, or built-in ones without ``--data``. Collective over the launch."""
        super().__init__(options, group)
        self.dataset = TokenDataset(data_folder("commoncrawl", options.data, group))

    def build_model(self) -> nn.Module:
        """Builds embeddings, the layers of ``model.kind``, and a softmax."""
        sizes: LanguageModelOptions = self.options.model
        common = (sizes.embedding, sizes.hidden, sizes.layers)
        layers: Layers
        if sizes.kind == "transformer":
            layers = Transformer(*common, sizes.heads, sizes.memory, sizes.dropout)
        else:
            layers = LayerNormLSTM(*common, sizes.dropout)
        vocabulary = self.sizes["vocabulary"]
        return LanguageModel(vocabulary, sizes.embedding, layers, sizes.dropout)

    @cached_property
    def sizes(self) -> Mapping[str, int]:
        """The pieces of the vocabulary."""
        return {"vocabulary": self.dataset.vocabulary_size}

    @classmethod
    def sizes_of(cls, shapes: Mapping[str, tuple[int, ...]]) -> Mapping[str, int]:
        """Returns the same by the embeddings."""
        return {"vocabulary": shapes["embedding.weight"][0]}

    def training_data(self) -> TrainingData:
        """Returns windows of documents, which no other rank of any group reads (`Share`)."""
        group, rows = self.group, self.options.batch_size
        return TokenStream(
            self.dataset,
            Share.of(self.options, group),
            lanes=range(group.rank * rows, (group.rank + 1) * rows),
            lane_count=group.trainers * rows,
        )

    def evaluation_data(self, part: str = "validation") -> Iterator[Batch]:
        """Yields this rank's texts of a part by windows; an id is a token's position in it."""
        if part not in PARTS:
            raise HvcodError(f"--part {part}: the data have {' and '.join(PARTS)}")
        ranges = self._ranges(part)
        return scored_windows(self.dataset, part, ranges, self.group.rank, self.group.size)

    def places_in(self, part: str) -> int:
        """Returns the tokens of a part; the first one is not predicted."""
        return self.dataset.tokens(part)

    def predict(self, model: nn.Module, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Returns logits [rows, window, vocabulary] and the hidden state, which is never reset."""
        logits, state = model(inputs, state)
        return logits, state

    def outputs(self, model: nn.Module, inputs: Any, state: Any) -> tuple[Predicted, Any]:
        """Returns what logits [rows, window, vocabulary] are computed from, and the hidden state.

        Those of `predict`, if a task derived from this one has its own, or another model.
        """
        own = type(self).predict is not CommonCrawl.predict
        if own or not isinstance(model, LanguageModel):
            return self.predict(model, inputs, state)
        features, state = model(inputs, state, project=False)
        return Projected(features, model.get_submodule("softmax")), state

    def served(self, model: nn.Module) -> Served:
        """Returns the model with its state as an argument, unless a derived task has another."""
        own = type(self).predict is not CommonCrawl.predict
        if own or not isinstance(model, LanguageModel):
            return super().served(model)
        return served(self, model)

    def meaning(self) -> Mapping[str, str]:
        """Returns the digest of the vocabulary."""
        return self.dataset.meaning

    def content(self) -> str:
        """Returns the digest of the documents."""
        return self.dataset.content

    def class_frequencies(self) -> npt.NDArray[np.float64]:
        """Returns the frequency of each token in the training part, with one added to its count."""
        return self.dataset.frequencies()

    def reference(self) -> Mapping[str, float]:
        """Returns the loss of a model that knows only the frequencies of tokens."""
        return {"unigram_entropy": unigram_entropy(self.dataset, self._ranges("validation"))}

    def _ranges(self, part: str) -> list[Range]:
        tokens, limit = self.dataset.tokens(part), self.options.validation_examples
        if limit is None:
            return scored_ranges(tokens, max(SCORED_TEXTS, tokens // LONGEST_TEXT), None)
        return scored_ranges(tokens, SCORED_TEXTS, limit * WINDOW)
