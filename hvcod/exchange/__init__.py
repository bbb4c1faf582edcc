"""Published checkpoints: half-precision copies of the weights that groups leave for each other."""

from pathlib import Path

from hvcod.folders import group_folder


def published_directory(run_dir: Path, group: int) -> Path:
    """Returns the directory in which a group publishes its checkpoints."""
    return group_folder(run_dir, group) / "published"
