#!/bin/sh
# Runs a program in a network namespace and in a cgroup, and shows it nothing of the cgroups above its own.
#
#   sh -c SCRIPT within NETNS CGROUP... -- PROGRAM [ARGUMENT...]
#
# CGROUP is a directory in /sys/fs/cgroup: one for each controller of cgroup v1, or the one of v2.
set -e
network=$1
shift
dirs=
while [ "$1" != -- ]; do
    echo $$ >"$1/cgroup.procs"
    dirs="$dirs $1"
    shift
done
shift
export dirs
# shellcheck disable=SC2016 # the inner shell expands them
exec nsenter --net="$network" unshare --cgroup --mount sh -ec '
    if [ -e /sys/fs/cgroup/cgroup.controllers ]; then
        umount /sys/fs/cgroup
        mount -t cgroup2 cgroup2 /sys/fs/cgroup
        # A cgroup of v2 has processes or controllers for its children, not both: docker'\''s entrypoint does the same.
        mkdir -p /sys/fs/cgroup/init
        while read -r process; do echo "$process" >/sys/fs/cgroup/init/cgroup.procs || :; done </sys/fs/cgroup/cgroup.procs
        sed "s/ / +/g; s/^/+/" /sys/fs/cgroup/cgroup.controllers >/sys/fs/cgroup/cgroup.subtree_control
    else
        for dir in $dirs; do
            controller=${dir#/sys/fs/cgroup/}
            controller=${controller%%/*}
            umount "/sys/fs/cgroup/$controller"
            mount -t cgroup -o "$controller" cgroup "/sys/fs/cgroup/$controller"
        done
    fi
    unset dirs
    exec "$@"
' within "$@"
