"""``hvcod predict`` on a disk that is full: a clear line, and nothing is left behind."""

from pathlib import Path

from conftest import MpiRun


def test_predictions_that_do_not_fit_on_the_disk(
    fast_mpirun: MpiRun, tiny_data: Path, small_disk: Path, tmp_path: Path
) -> None:
    words = ["--data", tiny_data, "--steps", 2, "--batch-size", 4, "--set", "model.hidden=8"]
    fast_mpirun(1, "hvcod", "train", "--run-dir", tmp_path / "run", *words)
    output = small_disk / "p.h5"
    predict = ["predict", tmp_path / "run", "--part", "training", "--output", output]
    done = fast_mpirun(2, "hvcod", *predict, check=False)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert str(small_disk) in done.stderr
    assert not list(small_disk.iterdir())
