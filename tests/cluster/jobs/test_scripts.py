"""What a user or a site writes into a script: text that could leave its place, and what it wins."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from cluster.jobs.rendered import FOUR, TRAIN, check_shell, directives, on_one_line, refusal, render

PREFIX = {"slurm": "#SBATCH", "pbs": "#PBS", "lsf": "#BSUB"}
EACH = pytest.mark.parametrize("scheduler", PREFIX)


BAD = "\n\r\x1b\x85\u2028\u202e\udcff\x7f"
TEXTS = "account chunk container directives environment gpu-request launcher memory modules name "
TEXTS += "partition place prepare qos setup"


@EACH
@pytest.mark.parametrize("option", TEXTS.split())
def test_no_control_character_enters_a_script_by_an_option(scheduler: str, option: str) -> None:
    # Some may have several lines, but nothing else that does not print.
    for bad in BAD[1:] if option in ("setup", "directives") else BAD:
        value = f"commoncrawl x{bad}touch --output d" if option == "prepare" else f"x{bad}touch"
        assert refusal("--scheduler", scheduler, "--gpus-per-node", "1", f"--{option}", value)


@EACH
@pytest.mark.parametrize(
    "command",
    [
        [*TRAIN[:-1], "runs/x\ntouch pwned"],
        [*TRAIN, "--data", "d\ntouch pwned"],
        ["evaluate", "runs/x\ntouch pwned"],
        ["predict", "runs/x\ntouch pwned", "--output", "p.csv"],
        ["churn", "run", "--task", "criteo", "--output", "c\ntouch pwned"],
        ["data", "commoncrawl", "in\ntouch pwned", "--output", "d"],
    ],
)
def test_no_line_break_enters_a_script_by_the_command(scheduler: str, command: list[str]) -> None:
    message = refusal("--scheduler", scheduler, "--folder", "logs", command=command)
    assert "cannot hold the character '\\n'" in message


def test_a_run_is_named_in_the_command_and_not_in_a_comment(tmp_path: Path) -> None:
    words = ["evaluate", "odd $(touch pwned) `touch pwned`; touch pwned"]
    script = render("--scheduler", "slurm", "--folder", "logs", command=words)["evaluate"]
    assert "# hvcod evaluate on 1 node of 1 rank each.\n" in script
    echo = script.replace("exec hvcod job run", "printf '%s\\n'")
    done = subprocess.run(["bash"], input=echo, cwd=tmp_path, capture_output=True, text=True)
    assert words[1] in done.stdout.splitlines()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--environment", "/x/$(touch pwned)"], "use a folder without quotes"),
        (["--environment", "/x/`touch pwned`"], "use a folder without quotes"),
        (["--environment", '/x"; touch pwned; "'], "use a folder without quotes"),
        (["--environment", "/x:/y"], "use a folder without quotes"),
        (["--environment", "~/venv"], "$HOME for ~"),
        (["--name", "a#b"], "it may not contain blanks, quotes"),
        (["--account", "a'b"], "it may not contain blanks, quotes"),
        (["--folder=-rf"], "no - at its beginning"),
        (["--memory", "plenty"], "write a number with MB, GB or TB"),
        (["--directives", "--comment='x"], "No closing quotation"),
        (["--chunk", "system=x"], "are for PBS"),
        (["--place", "free"], "are for PBS"),
        (["--directives", "--array=0-3"], "use --job-per-group or --shares"),
        (["--directives", "--time=UNLIMITED"], "'UNLIMITED' is no wall time"),
    ],
)
def test_what_would_be_read_otherwise_than_meant_is_refused(
    options: list[str], message: str
) -> None:
    assert message in refusal("--scheduler", "slurm", *options)


def test_an_installation_whose_path_bash_would_read_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "$HOME/bin").mkdir(parents=True)
    (tmp_path / "$HOME/bin/hvcod").touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "$HOME"))
    assert "add --environment" in refusal("--scheduler", "slurm")


@pytest.mark.parametrize(
    ("given", "replaced"),
    [
        ("-l place=pack", "-l place=scatter"),
        ("-l walltime=05:00:00", "-l walltime=01:00:00"),
        ("-lplace=free,walltime=2:00:00", "-l place=scatter"),
        ("-l select=1:ncpus=4:mem=8gb", "-l select=1:ncpus=1:mpiprocs=1:ompthreads=1"),
        ("-l nodes=2:ppn=4", "-l select=1:ncpus=1:mpiprocs=1:ompthreads=1"),
        ("-l ncpus=4", "-l place=scatter"),
        ("-q workq -A abc", "-q gpu"),
        ("-N other", "-N cc-train"),
        ("-r n", "-r y"),
        ("-o here.log", "-o localhost:/dev/null"),
        ("-S /bin/sh", "-S /bin/bash"),
        ("#PBS -l place=pack", "-l place=scatter"),
    ],
)
def test_a_users_directive_replaces_that_of_hvcod_on_pbs(given: str, replaced: str) -> None:
    options = ["--scheduler", "pbs", "--partition", "gpu", "--directives"]
    (before,) = render(*options, "").values()
    (after,) = render(*options, f"\n{given}\n\n").values()
    lines = directives(after, "#PBS")
    assert replaced in directives(before, "#PBS")
    assert replaced not in lines
    assert lines[-1] == given.removeprefix("#PBS ")


@pytest.mark.parametrize(
    ("given", "replaced"),
    [
        ("--time=05:00:00", "--time=01:00:00"),
        ("-t 300", "--time=01:00:00"),
        ("-N2", "--nodes=1"),
        ("--ntasks-per-node 4", "--ntasks-per-node=1"),
        ("-c 8", "--cpus-per-task=1"),
        ("--gres=gpu:a100:2", "--gpus-per-node=2"),
        ("-J other", "--job-name=cc-train"),
        ("--no-requeue", "--requeue"),
        ("--signal=B:USR1@600", "--signal=B:USR1@120"),
        ("--open-mode=truncate  # anew", "--open-mode=append"),
        ("#SBATCH -p cpu", "--partition=gpu"),
    ],
)
def test_a_users_directive_replaces_that_of_hvcod_on_slurm(given: str, replaced: str) -> None:
    options = ["--scheduler", "slurm", "--partition", "gpu", "--gpus-per-node", "2"]
    (before,) = render(*options).values()
    (after,) = render(*options, "--directives", given).values()
    assert replaced in directives(before, "#SBATCH")
    expected = [line for line in directives(before, "#SBATCH") if line != replaced]
    given = given.removeprefix("#SBATCH ").partition("  #")[0]
    assert directives(after, "#SBATCH") == [*expected, given]


@pytest.mark.parametrize(
    ("scheduler", "given", "seconds"),
    [
        ("pbs", "-l walltime=05:00:00", 5 * 3600),
        ("pbs", "-l walltime=7200", 7200),
        ("slurm", "--time=300", 300 * 60),
        ("slurm", "-t 90:30", 90 * 60 + 30),
        ("slurm", "-t1:00:00", 3600),
        ("slurm", "--time=1-12", 36 * 3600),
        ("slurm", "--time=2-1:30", 2 * 86400 + 5400),
        ("lsf", "-W 90", 90 * 60),
        ("lsf", "-W3:30 -q debug", 12600),
    ],
)
def test_the_ranks_stop_before_the_wall_time_that_a_directive_sets(
    scheduler: str, given: str, seconds: int
) -> None:
    options = ["--scheduler", scheduler, "--stop-by", "clock", "--directives", given]
    assert f"--time-limit {seconds - 120}s" in render(*options)["train"]


def test_an_array_may_be_throttled_by_a_directive() -> None:
    options = ["--groups", "3", "--job-per-group", "--prepare", "commoncrawl x --output d"]
    for scheduler, given in (
        ("slurm", "--array=0-2%1"),
        ("pbs", "-J 0-2%1"),
        ("lsf", "-J cc[1-3]%1"),
    ):
        scripts = render("--scheduler", scheduler, *options, "--directives", given)
        lines = directives(scripts["train-group"], PREFIX[scheduler])
        assert [x for x in lines if x.startswith(("--array", "-J"))] == [given]
        # Its neighbours in the chain are single jobs.
        assert given not in scripts["prepare"]


def test_pbs_is_asked_for_totals_at_sites_that_count_them() -> None:
    options = ["--scheduler", "pbs", "--nodes", "2", "--ranks-per-node", "4", "--totals"]
    options += ["--cpus-per-rank", "12", "--gpus-per-node", "4", "--memory", "380GB"]
    options += ["--directives", "-l storage=scratch/ab12+gdata/ab12\n-l jobfs=10GB"]
    lines = directives(render(*options)["train"], "#PBS")
    requests = [line for line in lines if line.startswith("-l")]
    assert requests == [
        "-l ncpus=96",
        "-l ngpus=8",
        "-l mem=760gb",
        "-l walltime=01:00:00",
        "-l storage=scratch/ab12+gdata/ab12",
        "-l jobfs=10GB",
    ]
    assert "no --exclusive, --place" in refusal(*options, "--place", "free")


def test_resources_of_a_chunk_replace_those_of_hvcod() -> None:
    options = ["--scheduler", "pbs", "--gpus-per-node", "2", "--memory", "8GB"]
    (script,) = render(*options, "--chunk", "model=x:ncpus=64:ngpus=4:mem=99gb").values()
    select = "-l select=1:mpiprocs=1:ompthreads=1:model=x:ncpus=64:ngpus=4:mem=99gb"
    assert select in directives(script, "#PBS")


def test_comments_among_directives_are_left_out() -> None:
    given = "# all of it\n##SBATCH --nodes=9\n-C gpu # why\n--comment='a # b'\n"
    (script,) = render("--scheduler", "slurm", "--directives", given).values()
    assert directives(script, "#SBATCH")[-2:] == ["-C gpu", "--comment='a # b'"]


def test_memory_and_placement_are_options() -> None:
    options = ["--nodes", "2", "--memory", "190GB"]
    assert "#SBATCH --mem=190G\n" in render("--scheduler", "slurm", *options)["train"]
    (script,) = render("--scheduler", "pbs", *options, "--place", "pack").values()
    assert ":mem=190gb\n#PBS -l place=pack\n" in script


@pytest.mark.parametrize(
    ("scheduler", "options", "alone"),
    [
        ("slurm", ["--exclusive"], True),
        ("slurm", ["--no-cpu-request"], True),
        ("slurm", ["--directives", "--exclusive"], True),
        ("slurm", ["--directives", "--exclusive=user"], False),
        ("slurm", [], False),
        ("pbs", ["--exclusive"], True),
        ("pbs", ["--place", "scatter:excl"], True),
        ("pbs", ["--directives", "-l place=scatter:exclhost"], True),
        ("pbs", ["--place", "free"], False),
        ("pbs", ["--groups", "2", "--job-per-group"], False),
    ],
)
def test_ranks_are_bound_only_where_a_job_has_its_nodes_alone(
    scheduler: str, options: list[str], alone: bool
) -> None:
    bound = {"mpirun": ":PE=$CPUS_PER_RANK", "srun": "--cpu-bind=cores", "mpiexec": "-bind-to"}
    for launcher, word in bound.items():
        words = ["--scheduler", scheduler, *options, "--launcher", launcher]
        (script,) = render(*words).values()
        assert (word in script) == alone
        assert word in next(iter(render(*words, "--bind").values()))
        assert word not in next(iter(render(*words, "--no-bind").values()))
    (script,) = render("--scheduler", scheduler, *options, "--launcher", "mpirun").values()
    assert ("--bind-to none" in script) != alone


def test_nodes_are_asked_for_alone() -> None:
    slurm = directives(render("--scheduler", "slurm", "--exclusive")["train"], "#SBATCH")
    assert "--exclusive" in slurm
    for place, line in (([], "scatter:excl"), (["--place", "pack"], "pack:excl")):
        script = render("--scheduler", "pbs", "--exclusive", *place)["train"]
        assert f"-l place={line}" in directives(script, "#PBS")


@EACH
@pytest.mark.parametrize("words", ["${%s}", "$%s", "--n=${%s:-1}"])
def test_launcher_words_may_use_all_sizes_of_the_job(
    scheduler: str, words: str, tmp_path: Path
) -> None:
    expected = {"RANKS": 8, "NODES": 2, "RANKS_PER_NODE": 4, "CPUS_PER_RANK": 3}
    expected |= {"GPUS": 8, "GPUS_PER_NODE": 4}
    launcher = "launch " + " ".join(words % name for name in expected)
    options = ["--scheduler", scheduler, *FOUR, "--cpus-per-rank", "3", "--gpus-per-node", "4"]
    scripts = render(*options, "--launcher", launcher)
    given = {"SLURM_NTASKS": "8", "SLURM_JOB_NUM_NODES": "2", "SLURM_NTASKS_PER_NODE": "4"}
    given |= {"SLURM_CPUS_PER_TASK": "3", "PBS_O_WORKDIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    echo = scripts["train"].replace("exec hvcod job run", "printf '%s\\n'")
    echo = echo.replace('exec >>"', 'cat </dev/null >>"')
    done = subprocess.run(
        ["bash", "-u"], input=echo, cwd=tmp_path, env=given, capture_output=True, text=True
    )
    printed = done.stdout.split("launch\n")[1].splitlines()[: len(expected)]
    assert [int(word.removeprefix("--n=")) for word in printed] == list(expected.values())


@pytest.mark.parametrize("launcher", ["mpirun --hostfile h", "mpiexec --ppn 4"])
def test_ranks_of_a_launcher_of_ones_own_find_hvcod_by_its_path(launcher: str) -> None:
    options = ["--scheduler", "pbs", "--environment", "$HOME/my venv", "--launcher"]
    script = on_one_line(render(*options, launcher)["train"])
    assert f'{launcher} "$HOME/my venv/bin/hvcod" train --groups 1' in script
    script = on_one_line(render(*options, "mpirun")["train"])
    assert "-x PATH -x OMP_NUM_THREADS hvcod train" in script


def test_modules_come_first_and_the_environment_of_hvcod_last(tmp_path: Path) -> None:
    module = tmp_path / "module"
    module.write_text('#!/bin/sh\n[ "$2" = good ]\n')
    module.chmod(0o755)
    setup = f'export PATH="/site:$PATH"\nexport OMP_NUM_THREADS=5 GPUS=$GPUS\n{shlex.quote("true")}'
    options = ["--scheduler", "slurm", "--environment", "/mine", "--setup", setup, "--modules"]
    path = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_CPUS_PER_TASK": "2"}
    for name, output in (("good", "/mine/bin:/site: 5 0"), ("bad", "")):
        script = render(*options, name)["train"]
        check_shell({name: script})
        shown = (
            script.partition("exec ")[0] + 'echo "${PATH%"${PATH#*site:}"} $OMP_NUM_THREADS $GPUS"'
        )
        done = subprocess.run(["bash"], input=shown, env=path, capture_output=True, text=True)
        # A job without its modules would run, but with another MPI.
        assert (done.stdout.strip(), done.returncode) == (output, int(name == "bad"))


def test_mpirun_on_pbs_hands_on_every_variable_that_is_exported() -> None:
    setup = "export A=1 B='x y z' PATH=/x\nC=3; export C\nexport D='p\nq'\n# a comment\nE=4"
    options = ["--scheduler", "pbs", "--setup", setup]
    script = on_one_line(render(*options)["train"])
    assert "-x A -x B -x C -x D --map-by" in script


def test_jobs_of_several_nodes_say_what_they_need_ssh_for() -> None:
    options = ["--scheduler", "pbs", "--nodes", "2"]
    assert "--remote-shell scheduler" in render(*options)["train"]
    for more in (["--nodes", "1"], ["--launcher", "mpiexec"], ["--scheduler", "slurm"]):
        assert "--remote-shell" not in render(*options, *more)["train"]
    script = render(*options, "--remote-shell", "scheduler")["train"]
    assert 'agent="hvcod job rsh --scheduler pbs"\n' in script
    check_shell({"train": script})
    for more in ([], ["--launcher", "mpiexec"]):
        words = [*options, "--scheduler", "slurm", "--remote-shell", "scheduler", *more]
        if more:
            assert "add --launcher mpirun" in refusal(*words)
        else:
            # There, mpirun starts its daemons by srun.
            assert "agent=" not in render(*words)["train"]


def test_lsf_is_asked_for_what_one_job_of_two_groups_needs() -> None:
    options = ["--scheduler", "lsf", *FOUR, "--cpus-per-rank", "7", "--gpus-per-node", "6"]
    options += ["--time", "3h55m", "--warning", "5m", "--account", "abc", "--partition", "batch"]
    (script,) = render(*options, "--directives", "-alloc_flags smt1").values()
    assert directives(script, "#BSUB") == [
        '-J "cc-train"',
        "-P abc",
        "-q batch",
        "-nnodes 2",
        "-W 3:55",
        "-o /dev/null",
        "-alloc_flags smt1",
    ]
    assert (
        'jsrun --nrs "$NODES" --rs_per_host 1 --tasks_per_rs "$RANKS_PER_NODE" '
        '--cpu_per_rs "$((RANKS_PER_NODE * CPUS_PER_RANK))" --gpu_per_rs "$GPUS_PER_NODE" '
        '--launch_distribution packed --bind "packed:$CPUS_PER_RANK" hvcod train --groups 2'
    ) in on_one_line(script)
    assert "--time-limit 13800s" in script
    assert "nothing is known of signals" in refusal(*options, "--stop-by", "signal")


@pytest.mark.parametrize(
    ("given", "replaced"),
    [
        ("-J mine", '-J "cc-train"'),
        ("-nnodes 9", "-nnodes 1"),
        ("-W 2:00", "-W 1:00"),
        ("-Pother", "-P abc"),
        ("#BSUB -q debug -o here", "-q batch"),
    ],
)
def test_a_users_directive_replaces_that_of_hvcod_on_lsf(given: str, replaced: str) -> None:
    options = ["--scheduler", "lsf", "--account", "abc", "--partition", "batch"]
    assert replaced in directives(render(*options)["train"], "#BSUB")
    lines = directives(render(*options, "--directives", given)["train"], "#BSUB")
    assert replaced not in lines
    assert lines[-1] == given.removeprefix("#BSUB ")


def test_groups_are_numbered_from_0_although_indices_of_lsf_begin_at_1() -> None:
    script = render("--scheduler", "lsf", "--groups", "3", "--job-per-group")["train-group"]
    assert '#BSUB -J "cc-train-group[1-3]"\n' in script
    assert "INDEX=$((LSB_JOBINDEX - 1))\n" in script
    command = ["churn", "run", "--task", "criteo", "--output", "runs/churn"]
    script = render("--scheduler", "lsf", "--shares", "3", command=command)["retrain"]
    assert '#BSUB -J "churn-retrain[2-4]"\n' in script
    assert '--share "$INDEX/3"' in script


@pytest.mark.parametrize(
    ("scheduler", "request_", "line"),
    [
        ("pbs", None, "-A ab12"),
        ("pbs", "-P {account}", "-P ab12"),
        ("pbs", "-W group_list={account}", "-W group_list=ab12"),
        ("slurm", None, "--account=ab12"),
        ("lsf", None, "-P ab12"),
    ],
)
def test_sites_charge_an_account_in_their_own_way(
    scheduler: str, request_: str | None, line: str
) -> None:
    options = ["--scheduler", scheduler, *(["--account-request", request_] if request_ else [])]
    lines = directives(render(*options, "--account", "ab12")["train"], PREFIX[scheduler])
    assert line in lines
    assert len(lines) == 1 + len(directives(render(*options)["train"], PREFIX[scheduler]))


SITES = {
    "nci": ["#PBS -P ab12", "#PBS -l ncpus=96", "#PBS -l ngpus=8", "#PBS -l mem=760gb"],
    "ncar": ["#PBS -l select=2:ncpus=64:mpiprocs=4:ompthreads=16:ngpus=4", "mpiexec -n"],
    "nasa": [":ngpus=4:model=mil_a100", "#PBS -W group_list=ab12", "-l place=scatter:excl"],
    "lumi": ["--partition=standard-g", '--cpu-bind="$CPU_BIND"', "--gpus-per-node=8"],
    "pawsey": ["#SBATCH --gres=gpu:8", "#SBATCH --exclusive"],
    "cineca": ["--partition=boost_usr_prod", "--gres=gpu:4"],
}


@pytest.mark.parametrize("name", SITES)
def test_a_profile_asks_as_its_site_is_documented_to_be_asked(name: str) -> None:
    options = ["--profile", name, "--nodes", "2", "--account", "ab12"]
    (script,) = render(*options, "--groups", "2").values()
    for text in SITES[name]:
        assert text in script


@EACH
def test_ranks_start_in_a_container_and_what_waits_for_them_outside(scheduler: str) -> None:
    words = 'apptainer exec --env "N=$NODES" hvcod.sif'
    options = ["--scheduler", scheduler, "--environment", "/thin", "--container", words]
    scripts = render(*options, *FOUR, "--prepare", "commoncrawl in --output d", "--evaluate")
    assert len(scripts) == 3
    check_shell(scripts)
    for script in map(on_one_line, scripts.values()):
        assert 'export PATH="/thin/bin:$PATH"' in script
        assert "NODES=" in script
        outside, _, inside = script[script.index("exec hvcod job run") :].partition(f" {words} ")
        assert outside.split()[-1] not in (words, "--"), "behind the launcher"
        assert inside.startswith("hvcod ")


def test_a_launcher_of_ones_own_calls_the_hvcod_inside_by_its_name() -> None:
    words = ["--launcher", "mylauncher -n $RANKS", "--environment", "/thin"]
    (script,) = render("--scheduler", "slurm", *words).values()
    assert '"/thin/bin/hvcod" train' in on_one_line(script)
    (script,) = render("--scheduler", "slurm", *words, "--container", "run it").values()
    assert "mylauncher -n $RANKS run it hvcod train" in on_one_line(script)
