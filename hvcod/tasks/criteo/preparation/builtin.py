"""Built-in data: generated rows, made once per user."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from hvcod.groups.communicator import Communicator
from hvcod.tasks.builtin import made_once
from hvcod.tasks.criteo.dataset import FORMAT
from hvcod.tasks.criteo.preparation.generate import RULES
from hvcod.tasks.criteo.preparation.options import PrepareOptions
from hvcod.tasks.criteo.preparation.prepare import ClickPreparation
from hvcod.tasks.criteo.preparation.sources import generated_inputs

ROWS, SEED = 100_000, 1
"""About as many rows as the preset ``laptop`` was chosen on: its steps are nearly two epochs.

Of twice as many they would be less than one, which is too short for teachers to help.
"""

OPTIONS = PrepareOptions()


def builtin_dataset(ranks: Communicator) -> Path:
    """Returns the folder of the generated rows, which are made if they are not there. Collective.

    Raises:
        HvcodError: The cache cannot be written, or is not the same on all nodes.
    """
    about = [RULES, FORMAT.version, ROWS, SEED, asdict(OPTIONS)]
    key = hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]
    return made_once(ranks, lambda: f"criteo-{key}", _prepare)


def _prepare(folder: Path, ranks: Communicator) -> None:
    ClickPreparation(generated_inputs(ROWS, SEED), folder / "data", OPTIONS, ranks).run()
