#!/usr/bin/env bash
# enter.sh TREE COMMAND...: runs a command in a system in a folder as Apptainer runs one in an image:
# with the devices, processes, temporary folder, names and user of the host. BIND: further paths.
set -euo pipefail

tree=$1
if [[ ${MOUNTS_OF-} != "$tree" ]]; then
    # The mounts are gone when the command has ended.
    exec env MOUNTS_OF="$tree" unshare --mount --propagation private "$0" "$@"
fi
for path in /dev /proc /sys /tmp ${BIND-}; do
    if [[ -d $path ]]; then
        mkdir -p "$tree$path"
    else
        mkdir -p "$tree${path%/*}"
        touch "$tree$path"
    fi
    mount --rbind "$path" "$tree$path"
done
exec chroot "$tree" "${@:2}"
