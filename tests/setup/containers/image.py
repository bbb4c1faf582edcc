"""An image of jobs/containers/Dockerfile, really built, though without any runtime for containers.

buildah follows the recipe with chroot in place of a runtime. The base image is a Debian that
debootstrap makes. apt and pip inside take packages from where they take them on this machine.
"""

import ast
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from conftest import PROJECT

PROGRAMS = ("buildah", "debootstrap", "unshare")
ENTER = Path(__file__).with_name("enter.sh")
PATH = "/opt/hvcod/bin:/usr/local/bin:/usr/bin:/bin:/opt/mpi/bin"
WHEELS = "/opt/wheels-of-hvcod"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


@dataclass(frozen=True)
class Image:
    """The files of an image.

    Attributes:
        root: The folder that holds them.
    """

    root: Path

    def command(self, *words: object, **variables: object) -> list[str]:
        """A command line that runs a command inside, with further variables."""
        inside = {"PATH": PATH, "APPTAINER_CONTAINER": "/images/hvcod.sif", **variables}
        settings = [f"{name}={value}" for name, value in inside.items()]
        return [str(ENTER), str(self.root), "env", *settings, *map(str, words)]


@contextmanager
def built(work: Path, cache: Path) -> Iterator[Image]:
    """Builds the image, which is gone when the context ends. Wheels are kept in the cache."""
    store = ["--storage-driver", "overlay", "--root", str(work / "s"), "--runroot", str(work / "r")]

    def buildah(*words: object) -> str:
        done = subprocess.run(
            ["buildah", *store, *map(str, words)],
            env={**os.environ, "BUILDAH_ISOLATION": "chroot"},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    settings, folders = pip_settings()
    base = buildah("from", "scratch")
    buildah("add", "--quiet", base, debian(cache), "/")
    for name, text in {
        "etc/pip.conf": settings,
        "etc/apt/apt.conf.d/99host": apt_settings(),
    }.items():
        path = work / "files" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        buildah("copy", "--quiet", base, path, f"/{name}")
    if CERTIFICATES.exists():
        buildah("copy", "--quiet", base, CERTIFICATES, "/opt/host/certificates.crt")
    buildah("config", "--env", f"HVCOD_CACHE={WHEELS}", base)
    buildah("commit", "--quiet", "--rm", base, "localhost/base")
    try:
        volumes = [f"--volume={folder}:{folder}:ro" for folder in folders]
        volumes += [f"--volume={cache}:{WHEELS}"]
        torch = os.environ.get("HVCOD_TORCH", "")
        buildah(
            *("bud", "--tag", "localhost/hvcod"),
            *("--build-arg", "BASE=localhost/base", "--build-arg", f"HVCOD_TORCH={torch}"),
            *(*volumes, "--file", PROJECT / "jobs/containers/Dockerfile", PROJECT),
        )
        yield Image(Path(buildah("mount", buildah("from", "localhost/hvcod"))))
    finally:
        buildah("umount", "--all")
        buildah("rm", "--all")
        # buildah may have left it mounted on itself.
        subprocess.run(["umount", "--quiet", work / "s/overlay"], check=False)
        # Never through a mount, behind which are files of this machine.
        if str(work) not in Path("/proc/self/mountinfo").read_text():
            shutil.rmtree(work, ignore_errors=True)


def debian(cache: Path) -> Path:
    """A Debian of this machine's release as an archive, from the cache or by debootstrap."""
    release = re.findall(r"^VERSION_CODENAME=(\w+)$", Path("/etc/os-release").read_text(), re.M)[0]
    archive = cache / f"debian-{release}.tar"
    if not archive.exists():
        wanted = ["--format", "$(REPO_URI)", "Component: main", f"Codename: {release}"]
        mirrors = subprocess.check_output(["apt-get", "indextargets", *wanted], text=True)
        tree = cache / f"debian-{release}"
        shutil.rmtree(tree, ignore_errors=True)
        subprocess.run(
            ["debootstrap", "--variant=minbase", release, str(tree), mirrors.split()[0]],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        subprocess.run(["tar", "-C", tree, "-cf", f"{archive}.part", "."], check=True)
        Path(f"{archive}.part").rename(archive)
        shutil.rmtree(tree)
    return archive


def apt_settings() -> str:
    """This machine's settings of apt that say how packages are fetched."""
    dump = subprocess.check_output(["apt-config", "dump"], text=True)
    return "".join(f"{line}\n" for line in dump.splitlines() if line.startswith("Acquire::http"))


def pip_settings() -> tuple[str, set[str]]:
    """This machine's settings of pip as a file for the image, and the folders that they name."""
    listed = subprocess.check_output(["pip", "config", "list"], text=True)
    known = dict(re.findall(r"^(?:global|install|:env:)\.([\w-]+)=(.*)$", listed, re.MULTILINE))
    values = {name: str(ast.literal_eval(value)) for name, value in known.items()}
    if "cert" in values:
        values["cert"] = "/opt/host/certificates.crt"
    paths = {word.removeprefix("file://") for value in values.values() for word in value.split()}
    named = {Path(path) for path in paths if path.startswith("/") and Path(path).exists()}
    # The pages of a local index name files beside their own folder.
    folders = {path.parent if path.is_dir() and len(path.parts) > 3 else path for path in named}
    lines = [f"{name} = {value}" for name, value in values.items()]
    return "\n".join(["[global]", *lines, ""]), set(map(str, folders))
