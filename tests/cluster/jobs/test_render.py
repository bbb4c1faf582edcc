"""The text of scripts, by the manuals of sbatch(1) and of OpenPBS's qsub(1B), and refusals.

No scheduler is needed here; that the scripts run is tested in test_slurm.py and its neighbours.
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from cluster.jobs.examples import examples
from cluster.jobs.rendered import FOUR, TRAIN, check_shell, directives, on_one_line, refusal, render

from hvcod.cli.commands import cli
from hvcod.cli.job import COMMANDS, submit
from hvcod.cli.job.check import check_training
from hvcod.cli.job.request import parsed
from hvcod.cluster.jobs.options import SITES, site_names
from hvcod.cluster.jobs.schedulers.base import Queued
from hvcod.cluster.jobs.schedulers.pbs import Pbs, parse_qstat
from hvcod.errors import HvcodError, UsageError
from hvcod.registry import SCHEDULERS

PROJECT = Path(__file__).parents[3]


def test_slurm_is_asked_for_what_one_job_of_two_groups_needs() -> None:
    options = ["--scheduler", "slurm", *FOUR, "--cpus-per-rank", "8", "--gpus-per-node", "4"]
    options += ["--time", "3h55m", "--warning", "5m", "--account", "abc", "--partition", "gpu"]
    options += ["--qos", "high", "--directives", "--constraint=a100"]
    (script,) = render(*options).values()
    assert directives(script, "#SBATCH") == [
        "--job-name=cc-train",
        "--account=abc",
        "--partition=gpu",
        "--qos=high",
        "--nodes=2",
        "--ntasks-per-node=4",
        "--cpus-per-task=8",
        "--gpus-per-node=4",
        "--time=03:55:00",
        "--output=runs/cc/logs/train.log",
        "--open-mode=append",
        "--requeue",
        "--signal=B:USR1@300",
        "--constraint=a100",
    ]
    assert 'srun --mpi=pmix --cpus-per-task="$CPUS_PER_RANK" \\\n' in script
    assert 'export OMP_NUM_THREADS="$CPUS_PER_RANK"' in script
    assert "    hvcod train --groups 2 --task commoncrawl --run-dir runs/cc\n" in script
    run = 'exec hvcod job run --scheduler slurm --folder runs/cc --name train --script "$0" -- \\\n'
    assert run in script
    assert "--time-limit" not in script


def test_pbs_is_asked_for_what_one_job_of_two_groups_needs() -> None:
    options = ["--scheduler", "pbs", *FOUR, "--cpus-per-rank", "8", "--gpus-per-node", "4"]
    options += ["--time", "3h55m", "--warning", "5m", "--account", "abc", "--partition", "gpu"]
    (script,) = render(*options).values()
    assert directives(script, "#PBS") == [
        "-N cc-train",
        "-S /bin/bash",
        "-A abc",
        "-q gpu",
        "-l select=2:ncpus=32:mpiprocs=4:ompthreads=8:ngpus=4",
        "-l place=scatter",
        "-l walltime=03:55:00",
        "-r y",
        "-j oe",
        "-o localhost:/dev/null",
    ]
    assert 'cd "$PBS_O_WORKDIR" || exit 1' in script
    assert '${PBS_NODEFILE:+--hostfile "$PBS_NODEFILE"}' in script
    # No signal comes beforehand: five minutes before the end the ranks stop by themselves.
    assert "--time-limit 13800s" in script
    assert 'hvcod job run --scheduler pbs --folder runs/cc --name train --script "$0"' in script
    assert "sbatch" not in script
    assert "SLURM" not in script


def test_a_job_for_each_group_is_an_array_or_single_jobs() -> None:
    request = ["--nodes", "2", "--groups", "3", "--job-per-group"]
    array = render("--scheduler", "slurm", *request)["train-group"]
    assert "#SBATCH --array=0-2\n" in array
    assert "logs/train-group-%2a.log" in array
    assert "INDEX=$SLURM_ARRAY_TASK_ID" in array
    assert '--index "$INDEX"' in array
    assert 'hvcod train --groups 3 --group "$INDEX" --task' in array
    array = render("--scheduler", "pbs", *request)["train-group"]
    assert "#PBS -J 0-2\n" in array
    assert "INDEX=${PBS_ARRAY_INDEX:-$INDEX}" in array
    assert '--index "$INDEX"' in array
    singles = render("--scheduler", "slurm", *request, "--no-array")
    assert list(singles) == [f"train-group-0{at}" for at in range(3)]
    assert "hvcod train --groups 3 --group 2 --task" in singles["train-group-02"]
    assert "--array" not in singles["train-group-02"]


def test_a_chain_says_what_waits_for_what() -> None:
    options = ["--evaluate", "--prepare", "commoncrawl 'crawl/*.gz' --output data/cc"]
    gpus = ["--gpus-per-node", "4"]
    for scheduler in ("slurm", "pbs"):
        scripts = render("--scheduler", scheduler, *FOUR, *gpus, *options)
        assert list(scripts) == ["prepare", "train", "evaluate"]
        prepared = "    hvcod data commoncrawl 'crawl/*.gz' --output data/cc\n"
        assert prepared in scripts["prepare"]
        assert "gpus" not in scripts["prepare"]
        assert "    hvcod evaluate runs/cc --json\n" in scripts["evaluate"]
        # Only a command that saves is warned.
        assert all("USR1" not in scripts[name] for name in ("prepare", "evaluate"))
        # On PBS, what waits for a job is submitted again with it.
        assert ("--followed-by evaluate" in scripts["train"]) == (scheduler == "pbs")


def test_a_job_for_each_group_and_an_evaluation_follow_each_other_on_slurm_only() -> None:
    options = ["--groups", "2", "--job-per-group", "--evaluate"]
    for more in ([], ["--no-array"]):
        assert "when they have ended" in refusal("--scheduler", "pbs", *options, *more)
        assert "evaluate" in render("--scheduler", "slurm", *options, *more)


def test_the_folder_of_the_jobs_need_not_be_the_run_directory() -> None:
    options = ["--scheduler", "slurm", *FOUR, "--folder", "elsewhere", "--evaluate"]
    scripts = render(*options)
    assert "#SBATCH --output=elsewhere/logs/train.log" in scripts["train"]
    assert "--folder elsewhere --name train" in scripts["train"]
    assert " --run-dir runs/cc\n" in scripts["train"]
    assert "    hvcod evaluate runs/cc --json\n" in scripts["evaluate"]
    without = refusal(*options, command=["train", "--task", "commoncrawl"])
    assert "add --run-dir, without which a job could not resume" in without


def test_retrains_are_shared_by_an_array_and_reported_by_a_last_job() -> None:
    command = ["churn", "run", "--task", "criteo", "--output", "runs/churn"]
    for scheduler, line in (("slurm", "#SBATCH --array=1-24"), ("pbs", "#PBS -J 1-24")):
        scripts = render("--scheduler", scheduler, "--shares", "24", command=command)
        assert line in scripts["retrain"]
        assert ' --share "$INDEX/24"\n' in scripts["retrain"]
        assert "--share" not in scripts["report"]
        assert "--waits-for retrain -- \\\n" in scripts["report"]
        assert "J 1-24" not in scripts["report"]
        # A single job stops in time, too.
        (script,) = render("--scheduler", scheduler, "--stop-by", "clock", command=command).values()
        assert "--time-limit 3480s" in script


def test_runs_of_an_experiment_are_shared_like_retrains() -> None:
    command = ["experiment", "figure2a", "--output", "runs/e", "--share", "1/2"]
    scripts = render("--scheduler", "slurm", "--shares", "9", command=command)
    assert ' --share "$INDEX/9"\n' in scripts["run"]
    assert "--share" not in scripts["report"]
    assert "--waits-for run -- \\\n" in scripts["report"]
    (script,) = render(
        "--scheduler", "pbs", command=["experiment", "figure2a", "--output", "runs/e"]
    ).values()
    assert "--time-limit 3480s" in script
    assert "--output runs/e" in script


@pytest.mark.parametrize(
    ("launcher", "words"),
    [
        ("mpirun", '--map-by "ppr:$RANKS_PER_NODE:node" --bind-to none'),
        ("mpiexec", '    mpiexec -n "$RANKS" -ppn "$RANKS_PER_NODE"'),
        ("ibrun", "    ibrun \\\n"),
        ("srun --mpi=pmi2", "    srun --mpi=pmi2 \\\n"),
    ],
)
def test_the_launcher_is_a_variable(launcher: str, words: str) -> None:
    (script,) = render("--scheduler", "slurm", *FOUR, "--launcher", launcher).values()
    assert words in script
    # A launcher that passes no signals on gets a time limit instead.
    assert ("--time-limit 3480s" in script) == (launcher == "ibrun")
    assert ("--stop-by clock --" in script) == (launcher == "ibrun")
    assert ("--signal" in script) == (launcher != "ibrun")


def test_a_profile_of_ones_own_lies_below_the_flags(tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text(
        'scheduler = "slurm"\naccount = "abc"\npartition = "gpu"\nmodules = "gcc/13 openmpi/5"\n'
        'setup = """\nexport A=1\nexport B=2\n"""\n'
    )
    (script,) = render("--profile", str(file), "--partition", "cpu", *FOUR).values()
    assert "#SBATCH --account=abc\n#SBATCH --partition=cpu\n" in script
    assert "module load gcc/13 openmpi/5 || exit 1\n" in script
    assert "export A=1\nexport B=2\n" in script
    file.write_text('acount = "abc"\n')
    assert "did you mean account?" in refusal("--profile", str(file))
    names = "alcf, cineca, jsc, lumi, nasa, ncar, nci, nersc, olcf, pawsey, tacc"
    assert f"nor one of the examples: {names}" in refusal("--profile", "elsewhere")


@pytest.mark.parametrize("name", site_names())
def test_each_profile_says_where_it_is_from_and_gives_a_script(name: str) -> None:
    text = (SITES / f"{name}.toml").read_text()
    assert "https://" in text
    assert "Not run there" in text
    (script,) = render("--profile", name, "--groups", "1", "--account", "abc").values()
    check_shell({name: script})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--nodes", "3", "--groups", "2"], "2 groups cannot share 3 ranks (3 nodes of 1)"),
        (["--job-per-group"], "--job-per-group needs --groups, two or more"),
        (["--ranks-per-node", "8", "--gpus-per-node", "4"], "8 ranks cannot share the 4 GPUs"),
        (["--time", "1m", "--warning", "2m"], "--warning 120s: the wall time is only 60 s"),
        (["--stop-by", "signal"], "PBS sends no signal before the end"),
        (["--shares", "3"], "--shares goes with `-- churn run ...` and `-- ex"),
        (["--folder", "two words"], "use another --folder"),
        (["--folder", "runs/%j"], "use another --folder"),
        (["--folder", "~/runs"], "use another --folder"),
        (["--folder", "host:runs,2"], "use another --folder"),
        (["--account", "a b"], "--account 'a b': it may not contain blanks"),
        (["--partition", "a\nb"], "may not contain blanks"),
        (["--name", "a@b"], "PBS takes letters"),
        (["--folder", "runs/a@b"], "PBS takes letters"),
    ],
)
def test_what_is_impossible_is_refused(options: list[str], message: str) -> None:
    assert message in refusal("--scheduler", "pbs", *options)


def test_groups_in_one_process_have_a_job_of_one_rank() -> None:
    train = ["train", "--run-dir", "runs/first", "--preset", "paper,mutual-learning"]
    options = ["--scheduler", "slurm", "--nodes", "1", "--ranks-per-node", "1"]
    (script,) = render(*options, command=train).values()
    assert "hvcod train --run-dir runs/first --preset paper,mutual-learning\n" in script
    assert "#SBATCH --ntasks-per-node=1\n" in script
    for more in (["--nodes", "2"], ["--groups", "2"], ["--job-per-group", "--groups", "2"]):
        assert "so their job has one rank" in refusal(*options, *more, command=train)


def test_slurm_warns_no_earlier_than_it_can() -> None:
    options = ["--scheduler", "slurm", "--time", "48h", "--warning", "20h"]
    assert "at most 65535 s before the end" in refusal(*options)
    assert render(*options, "--stop-by", "clock")


def test_an_environment_without_hvcod_must_be_meant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", "/nowhere")
    assert "/nowhere/bin holds no hvcod" in refusal("--scheduler", "slurm")
    assert render("--scheduler", "slurm", "--environment", "$HOME/hvcod/.venv")


def test_mpirun_on_pbs_hands_on_what_ssh_does_not() -> None:
    options = [*FOUR, "--launcher", "mpirun", "--setup", "export A=1; export B_2=x\necho C=3"]
    script = on_one_line(render("--scheduler", "pbs", *options)["train"])
    assert " ${LD_LIBRARY_PATH:+-x LD_LIBRARY_PATH} -x A -x B_2 " in script
    assert " -x PATH -x OMP_NUM_THREADS " in script
    (script,) = render("--scheduler", "slurm", *options).values()
    assert "-x A" not in script


def test_a_training_that_could_not_go_on_is_refused() -> None:
    slurm = ["--scheduler", "slurm"]
    assert "add --run-dir, without which a job could not resume" in refusal(
        *slurm, command=["train"]
    )
    numbered = [*TRAIN, "--group", "1"]
    assert "--job-per-group makes a job for each group" in refusal(*slurm, command=numbered)
    twice = [*TRAIN, "--groups", "4"]
    assert "--groups 2 before --, but 4 behind it" in refusal(*slurm, *FOUR, command=twice)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ([*TRAIN, "--task", "mnist"], "no such task"),
        ([*TRAIN, "--stepps", "3"], "No such option"),
        ([*TRAIN, "--data", "nowhere"], "--data nowhere: no such folder"),
    ],
)
def test_submit_refuses_what_the_training_would_refuse(
    command: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["job", "submit", "--scheduler", "slurm", *FOUR, "--", *command]
    with pytest.raises((UsageError, click.UsageError), match=message):
        cli.main(words, standalone_mode=False)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--preset", "huge"], "choose one of"),
        (["--group-batch-size", "6"], "4 ranks per group cannot share it evenly"),
        (["--teacher", "nowhere"], "--teacher: .*nowhere: no such run directory or file"),
        (["--init", "nowhere"], "--init: .*nowhere: no such run directory or file"),
    ],
)
def test_options_are_checked_as_the_training_would(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process, as the one that `submit` starts."""
    monkeypatch.chdir(tmp_path)
    _, flags = parsed(["train", "--run-dir", "run", *words])
    with pytest.raises(UsageError, match=message):
        check_training(flags, 4)


def test_a_run_that_goes_on_needs_no_weights_to_begin_with(tmp_path: Path) -> None:
    (tmp_path / "config.toml").touch()
    _, flags = parsed(["train", "--run-dir", str(tmp_path), "--init", "gone.pt"])
    check_training(flags, 4)


def test_the_laptop_example_of_submit_works_where_no_scheduler_is(tmp_path: Path) -> None:
    example = submit.EXAMPLES.partition("laptop")[2].partition("cluster")[0]
    program = str(Path(sys.prefix, "bin"))
    done = subprocess.run(
        shlex.split(example.replace("\\\n", " ")),
        cwd=tmp_path,
        env={**os.environ, "PATH": program},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "sbatch is not on PATH" in done.stderr
    assert (tmp_path / "runs/first/jobs/train.sh").exists()


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_all_that_is_rendered_is_good_shell(scheduler: str) -> None:
    common = ["--scheduler", scheduler, *FOUR, "--modules", "gcc openmpi"]
    odd = [*TRAIN, "--set", "model.hidden=3", "--data", "it's mine -x"]
    check_shell(render(*common, "--evaluate", command=odd))
    check_shell(render(*common, "--stop-by", "clock", "--launcher", "ibrun"))
    check_shell(render(*common, "--job-per-group", "--no-bind", "--launcher", "mpiexec"))
    assert " --data 'it'\"'\"'s mine -x'" in render(*common, command=odd)["train"]


def test_the_templates_are_what_render_prints_and_good_shell() -> None:
    templates = dict(examples())
    folders = [PROJECT / "jobs" / scheduler for scheduler in SCHEDULERS]
    there = {x.relative_to(PROJECT / "jobs") for folder in folders for x in folder.rglob("*.sh")}
    assert there == set(templates), "run python tests/cluster/jobs/examples.py jobs"
    assert len(templates) == 5 * len(SCHEDULERS)
    assert all(len(text.splitlines()) <= 32 for text in templates.values())
    for place, text in templates.items():
        assert (PROJECT / "jobs" / place).read_text() == text
    check_shell({str(place): text for place, text in templates.items()})


def test_every_help_ends_with_examples_and_imports_nothing_heavy() -> None:
    program = (
        "import sys; from hvcod.cli.commands import cli\n"
        f"for name in {[*COMMANDS]!r}:\n"
        "    cli.main(['job', name, '--help'], standalone_mode=False)\n"
        "    print('HEAVY', [m for m in ('torch', 'mpi4py', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    pages = done.stdout.split("HEAVY []")[:-1]
    assert len(pages) == len(COMMANDS)
    for page in pages:
        tail = page[page.index("Examples:") :]
        assert "laptop" in tail
        assert "cluster" in tail
        # Times have units.
        assert "3600.0" not in page


def test_render_imports_nothing_heavy() -> None:
    program = (
        "import sys; from hvcod.cli.commands import cli\n"
        f"try: cli.main(['job', 'render', '--scheduler', 'slurm', '--', *{TRAIN!r}])\n"
        "finally: print('HEAVY', [m for m in ('torch', 'mpi4py', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert "HEAVY []" in done.stdout


QSTAT = """\
Job Id: 12.pbs
    Job_Name = cc-train
    job_state = R
    resources_used.walltime = 00:12:01
    exec_host = node1/0*8+node2/0*
\t8
    Variable_List = PBS_O_HOME=/home/me,PBS_O_LANG=C

Job Id: 13[1].pbs
    Job_Name = cc-train-group
    job_state = F
    Exit_status = 75

Job Id: 14.pbs
    job_state = H
    comment = Job held on dependency
"""


def test_what_qstat_prints_is_understood() -> None:
    found = list(parse_qstat(QSTAT, ["12.pbs", "13[].pbs"]))
    assert found == [
        ("12.pbs", Queued("12.pbs", "R", "00:12:01", "", "node1/0*8+node2/0*8")),
        ("13[].pbs", Queued("13[1].pbs", "F", "", "exit code 75", "")),
    ]
    assert [queued.state in Pbs.ended_states for _, queued in found] == [False, True]


def answering(program: str, shell: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Puts a program that answers in a way that no server does when it is asked to on PATH."""
    path = folder / program
    path.write_text(f"#!/bin/sh\n{shell}\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_a_server_that_does_not_answer_is_not_taken_for_jobs_that_have_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering("qstat", "echo 'Connection refused' >&2; exit 255", tmp_path, monkeypatch)
    with pytest.raises(HvcodError, match="qstat does not answer: Connection refused"):
        list(Pbs().queued(["12.pbs"]))
    for ended in ("Unknown Job Id 12.pbs", "12.pbs Job has finished, use -x or -H"):
        answering("qstat", f"echo 'qstat: {ended}' >&2; exit 153", tmp_path, monkeypatch)
        assert not list(Pbs().queued(["12.pbs"]))


def test_what_waits_is_cancelled_before_what_it_waits_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering("qdel", f"echo $* >{tmp_path}/told", tmp_path, monkeypatch)
    Pbs().cancel(["12.pbs", "13.pbs"])
    assert (tmp_path / "told").read_text() == "13.pbs 12.pbs\n"
