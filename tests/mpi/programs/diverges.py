"""``hvcod train``, but what one rank of a group predicts is NaN at one of its steps, all of it.

    diverges.py GROUP STEP FILE train ...

The other groups go on from that step only when the file exists, which may be "" for none.
"""

import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

from torch import Tensor, nn

from hvcod.cli.main import main
from hvcod.tasks.commoncrawl.task import CommonCrawl

group, step, awaited = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
sys.argv[1:4] = []
plain = CommonCrawl.predict
calls = 0


def predict(task: CommonCrawl, model: nn.Module, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
    global calls
    logits, state = plain(task, model, inputs, state)
    calls += model.training  # neither a teacher nor a validation
    if task.group.index != group and model.training and calls == step:
        while awaited and not Path(awaited).exists():
            time.sleep(0.01)
    poisoned = task.group.index == group and task.group.rank == task.group.size - 1
    if poisoned and model.training and calls == step:
        return logits * float("nan"), state * float("nan")
    return logits, state


# Training asks for outputs, from which predictions are computed.
with (
    patch.object(CommonCrawl, "predict", predict),
    patch.object(CommonCrawl, "outputs", predict),
):
    main()
