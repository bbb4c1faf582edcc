"""``hvcod train`` whose last rank of each group sleeps in each of its updates (docs/method.md).

mpirun -np 2 python tests/bench/programs/slow_rank.py SECONDS train --task criteo ...
"""

import sys
import time
from typing import Any
from unittest.mock import patch

from torch import Tensor, nn

from hvcod.cli.main import main
from hvcod.tasks.criteo.task import Criteo

seconds = float(sys.argv.pop(1))
plain = Criteo.predict


def predict(task: Criteo, model: nn.Module, inputs: Any, state: Any) -> tuple[Tensor, Any]:
    if model.training and task.group.rank == task.group.size - 1:
        time.sleep(seconds)
    return plain(task, model, inputs, state)


with patch.object(Criteo, "predict", predict):
    main()
