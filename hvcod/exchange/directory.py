"""The place of published checkpoints in a run directory; imports nothing heavy."""

from pathlib import Path


def published_directory(run_dir: Path, group: int) -> Path:
    """The directory in which `group` publishes its checkpoints."""
    return run_dir / f"group-{group}" / "published"
