"""``python -m hvcod.cli.job.resolved RANKS COMMAND...``: checks the options of a training.

If they are wrong, it exits with 2 and prints the reason as JSON. MPI is imported, but not started.
"""

import json
import sys
from collections.abc import Sequence

import mpi4py

from hvcod.errors import UsageError


def main(ranks: int, words: Sequence[str]) -> int:
    """Returns the exit code: 0 or 2.

    Args:
        ranks: Number of ranks in a group.
        words: The command without ``hvcod``.
    """
    mpi4py.rc.initialize = False
    from hvcod.cli.job.request import parsed
    from hvcod.cli.options import layer
    from hvcod.config import TrainOptions
    from hvcod.runs.layers import resolve
    from hvcod.training.run.resume import per_rank

    _, flags = parsed(words)
    try:
        options = resolve(flags["config_file"], flags["assignments"], layer(TrainOptions, flags))
        per_rank(options, flags.get("ranks_per_group") or ranks)
    except UsageError as error:
        print(json.dumps(str(error)))
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
