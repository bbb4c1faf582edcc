"""The kinds of files of weights, by the end of their names. Nothing heavy is imported here."""

from pathlib import Path

SAFETENSORS = ".safetensors"
STATE_DICT = ".pt"

READ = (SAFETENSORS, STATE_DICT, ".pth", ".bin")
"""The ends of names of files that are read as weights."""


def is_weights_file(path: Path) -> bool:
    """Returns whether a file is named like weights in safetensors' format or torch's."""
    return path.suffix in READ


def card_path(path: Path) -> Path:
    """Returns the path of the card beside a file of weights: ``model.pt.json`` of ``model.pt``."""
    return path.with_name(f"{path.name}.json")


def model_path(path: Path) -> Path:
    """Returns the path of the exported model beside a file of weights: ``model.pt2``."""
    return path.with_suffix(".pt2")
