"""Published checkpoints: half-precision copies of the weights that groups leave for each other."""

from pathlib import Path


def published_directory(run_dir: Path, group: int) -> Path:
    """Returns the directory in which a group publishes its checkpoints."""
    return run_dir / f"group-{group}" / "published"
