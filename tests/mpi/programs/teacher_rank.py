"""``hvcod train``, but the teacher ranks of one group come to grief when they predict.

    teacher_rank.py GROUP raise|stop|sleep NUMBER train ...

They raise an error or stop themselves (SIGSTOP) at the call of this number, or sleep for so many
milliseconds at each call.
"""

import os
import signal
import sys
import time
from typing import Any
from unittest.mock import patch

from torch import Tensor, nn

from hvcod.cli.main import main
from hvcod.tasks.commoncrawl.task import CommonCrawl

group, how, number = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
sys.argv[1:4] = []
plain = CommonCrawl.predict
calls = 0


def predict(task: CommonCrawl, model: nn.Module, inputs: Tensor, state: Any) -> tuple[Tensor, Any]:
    global calls
    if task.group.role == "teacher" and task.group.index == group:
        calls += 1
        if how == "sleep":
            time.sleep(number / 1000)
        if how == "stop" and calls == number:
            os.kill(os.getpid(), signal.SIGSTOP)
        if how == "raise" and calls == number:
            raise ValueError("there is no chalk")
    return plain(task, model, inputs, state)


# Training asks for outputs, from which predictions are computed.
with (
    patch.object(CommonCrawl, "predict", predict),
    patch.object(CommonCrawl, "outputs", predict),
):
    main()
