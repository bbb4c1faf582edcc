"""``hvcod doctor``."""

import json
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from hvcod.cli.options import build, dataclass_options, json_option
from hvcod.cli.tables import columns
from hvcod.cluster.doctor.options import DoctorOptions
from hvcod.terminal import show

if TYPE_CHECKING:
    from hvcod.cluster.doctor.checks.finding import Finding

EXAMPLES = """\b
Examples:
  laptop   mpirun -np 4 hvcod doctor --groups 2
  cluster  hvcod doctor --run-dir /scratch/runs/cc                            # on the login node
           srun --mpi=pmix hvcod doctor --groups 2 --run-dir /scratch/runs/cc # in the job
"""


@click.command(epilog=EXAMPLES)
@dataclass_options(DoctorOptions)
@json_option
def command(as_json: bool, **flags: Any) -> None:
    """Check whether training would run here, and say how to fix what is wrong.

    Without a launcher, as on a login node, it checks the installation and the run directory. Start
    it as you would start the training (mpirun, srun, mpiexec), with the same --groups and
    --run-dir, and it also checks the launch, the groups, the GPUs, and whether nodes see each
    other's files in time.

    Exits with 1 if training would fail; warnings do not count. --json prints one object.
    """
    from hvcod.cluster.doctor.examine import examine
    from hvcod.cluster.doctor.report import is_well, judge, to_dict, versions

    examination = examine(build(DoctorOptions, flags))
    if examination is None:
        return
    findings = judge(examination)
    if as_json:
        show(json.dumps(to_dict(examination, findings)))
    else:
        show(table(findings, versions(examination.first)))
    click.get_current_context().exit(0 if is_well(findings) else 1)


def table(findings: "Mapping[str, Finding]", versions: Mapping[str, str]) -> str:
    """Returns the findings as a table, then what to do, then the versions."""
    rows = [["check", "result", "found"]]
    rows += [[name, finding.result, finding.found] for name, finding in findings.items()]
    wrapper = textwrap.TextWrapper(100, initial_indent="  ", subsequent_indent="    ")
    mends = [f"{name}: {finding.mend}" for name, finding in findings.items() if finding.mend]
    todo = ["", "What to do:", *map(wrapper.fill, mends)] if mends else []
    return "\n".join([columns(rows), *todo, "", columns(list(versions.items()))])
