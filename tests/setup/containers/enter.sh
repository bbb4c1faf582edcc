#!/usr/bin/env bash
# enter.sh TREE COMMAND...: runs a command in a system in a folder as Apptainer runs one in an image:
# with the devices, processes, temporary folder, names and user of the host. BIND: further paths.
set -euo pipefail

tree=$1
export BIND="/dev /proc /sys /tmp ${BIND-}"
# The mounts are gone when the command has ended.
exec unshare --mount --propagation private bash -c '
    set -e
    for path in $BIND; do
        if [[ -d $path ]]; then mkdir -p "$0$path"; else mkdir -p "$0${path%/*}"; [[ -e $0$path ]] || touch "$0$path"; fi
        mount --rbind "$path" "$0$path"
    done
    exec chroot "$0" "$@"
' "$tree" "${@:2}"
