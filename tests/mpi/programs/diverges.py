"""``hvcod train``, but the loss of one rank of a group is NaN at one step.

diverges.py GROUP STEP train ...
"""

import sys
from unittest.mock import patch

from torch import Tensor

from hvcod.cli.main import main
from hvcod.tasks.commoncrawl.task import CommonCrawl

group, step = map(int, sys.argv[1:3])
sys.argv[1:3] = []
plain = CommonCrawl.loss
calls = 0


def loss(task: CommonCrawl, logits: Tensor, targets: Tensor) -> Tensor:
    global calls
    found = plain(task, logits, targets)
    calls += logits.requires_grad  # not in a validation
    poisoned = task.group.index == group and task.group.rank == task.group.size - 1
    return found * float("nan") if poisoned and calls == step else found


with patch.object(CommonCrawl, "loss", loss):
    main()
