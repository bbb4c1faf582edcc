"""``hvcod train``, but what one rank of a group predicts is NaN at one of its steps, all of it.

diverges.py GROUP STEP train ...
"""

import sys
from typing import Any
from unittest.mock import patch

from torch import Tensor, nn

from hvcod.cli.main import main
from hvcod.tasks.commoncrawl.task import CommonCrawl

group, step = map(int, sys.argv[1:3])
sys.argv[1:3] = []
plain = CommonCrawl.predict
calls = 0


def predict(task: CommonCrawl, model: nn.Module, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
    global calls
    logits, state = plain(task, model, inputs, state)
    calls += model.training  # neither a teacher nor a validation
    poisoned = task.group.index == group and task.group.rank == task.group.size - 1
    if poisoned and model.training and calls == step:
        return logits * float("nan"), state * float("nan")
    return logits, state


with patch.object(CommonCrawl, "predict", predict):
    main()
