"""Writes a file of weights, its card and what else belongs to it: each whole or not at all."""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from hvcod.errors import UsageError
from hvcod.files.whole import output_problem, write_output
from hvcod.terminal import one_line
from hvcod.weights.card import Card
from hvcod.weights.kinds import SAFETENSORS, STATE_DICT, card_path
from hvcod.weights.library import safetensors_torch


def check_outputs(paths: list[Path], force: bool) -> None:
    """Raises UsageError if files cannot be written, or are there already and not to be replaced."""
    if paths[0].suffix not in (SAFETENSORS, STATE_DICT):
        raise UsageError(
            f"--output {paths[0]}: name a file that ends in {SAFETENSORS} or {STATE_DICT}"
        )
    for path in paths:
        if problem := output_problem(path):
            raise UsageError(f"--output {problem}")
        if path.exists() and not force:
            raise UsageError(f"--output {path}: this file exists: use another name, or --force")
        if not path.parent.is_dir():
            raise UsageError(f"--output {path}: there is no folder {path.parent}")


def encoded(path: Path, tensors: Mapping[str, Tensor], card: Card) -> bytes:
    """Returns the content of a file of weights, of the kind that its name says.

    safetensors keep the card in their metadata, where other libraries also look for ``format: pt``,
    tensors of torch.

    Args:
        tensors: Each with memory of its own.

    Raises:
        HvcodError: The library of safetensors is missing.
    """
    if path.suffix == SAFETENSORS:
        metadata = {"format": "pt", "hvcod": card.text()}
        if text := card.values.get("license"):
            metadata["license"] = one_line(str(text))
        content: bytes = safetensors_torch().save(dict(tensors), metadata)
        return content
    memory = io.BytesIO()
    torch.save(dict(tensors), memory)
    return memory.getvalue()


def write_files(path: Path, files: Mapping[Path, bytes], card: Card) -> None:
    """Writes files, then the card of the first one, which holds the digests of all.

    So there is no card of files that are not there, whenever the process is killed: with the new
    files an earlier card does not agree.

    Raises:
        HvcodError: A file cannot be written.
    """
    digests = {each.name: hashlib.sha256(content).hexdigest() for each, content in files.items()}
    text = json.dumps({**card.values, "files": digests}, indent=1, allow_nan=False)
    for target, content in [*files.items(), (card_path(path), text.encode() + b"\n")]:
        write_output(target, content)
