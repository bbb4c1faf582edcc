"""Where published checkpoints lie; nothing heavy is imported."""

from pathlib import Path


def published_directory(run_dir: Path, group: int) -> Path:
    """Where `group` leaves its checkpoints for the others."""
    return run_dir / f"group-{group}" / "published"
