"""A scheduler of three shell scripts, written like an extension: one class and its registration.

``python shellqueue.py job ...`` is ``hvcod job ...`` with this scheduler among the others.
"""

import signal
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from hvcod.cluster.jobs.schedulers.base import Queued, Scheduler, call
from hvcod.cluster.jobs.script import RunningJob, Script

PROGRAMS = {
    # A job is a folder below $QUEUE; the script is copied, as a real scheduler does.
    "fakesub": """
[ ! -e "$QUEUE/closed" ] || { echo "the queue is closed" >&2; exit 1; }
id=$(($(ls "$QUEUE" | wc -l) + 1))
mkdir "$QUEUE/$id"
for last; do :; done
cp "$last" "$QUEUE/$id/script"
echo "$@" >"$QUEUE/$id/words"
setsid sh -c '
    echo $$ >"$0/pid"; trap : USR1 TERM; bash "$0/script" >"$0/log" 2>&1; echo $? >"$0/code"
' "$QUEUE/$id" >/dev/null 2>&1 &
echo "$id"
""",
    "fakestat": """
cd "$QUEUE"
for id in *; do
    state=running
    [ ! -e "$id/code" ] || state=ended
    [ ! -e "$id/cancelled" ] || state=cancelled
    echo "$id $state"
done
""",
    "fakedel": """
for id; do
    touch "$QUEUE/$id/cancelled"
    kill -TERM -"$(cat "$QUEUE/$id/pid")"
done
""",
}


class ShellQueue(Scheduler):
    """Jobs that start at once on this machine."""

    prefix = "#FAKE"
    submit_program = "fakesub"
    launcher = "env"
    keeps_id = False
    waiting_states = frozenset[str]()
    ended_states = frozenset({"ended", "cancelled"})

    def directives(self, script: Script, folder: Path) -> list[str]:
        """Returns the job's name."""
        return [f"name {script.options.name}-{script.name}"]

    def submit(self, script: Path, after: Sequence[str] = (), after_any: bool = False) -> str:
        """Submits a script by fakesub."""
        return call(["fakesub", *(f"after={job}" for job in after), str(script)]).stdout.strip()

    def queued(self, ids: Sequence[str]) -> Iterator[tuple[str, Queued]]:
        """Yields all jobs."""
        for line in call(["fakestat"]).stdout.splitlines():
            job, state = line.split()
            yield job, Queued(job, state, "", "", "")

    def cancel(self, ids: Sequence[str]) -> None:
        """Cancels by fakedel."""
        call(["fakedel", *ids])

    def start_of(self, job: RunningJob) -> str:
        """Returns a line with the job's name."""
        return f"start of {job.log_name}"

    def may_requeue(self, received: Collection[signal.Signals]) -> bool:
        """Returns whether there was no TERM, which fakedel sends."""
        return signal.SIGTERM not in received

    def requeue(self, job: RunningJob) -> Iterator[tuple[str, str]]:
        """Submits the script again."""
        following = self.submit(job.script)
        yield job.name, following
        if job.followed_by:
            yield job.followed_by, self.submit(job.folder / f"{job.followed_by}.sh", [following])


if __name__ == "__main__":
    from hvcod.cli.main import main
    from hvcod.registry import SCHEDULERS

    with SCHEDULERS.added("shell", ShellQueue):
        main()
