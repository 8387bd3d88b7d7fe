#!/bin/sh
# Becomes a container: a root file system of its own (an overlay over the machine's, as a container
# runtime lays one over an image), its mounts, its network. Runs as PID 1 of a new PID namespace.
#
#   container.sh SCRATCH MOUNTS MTU IMAGE PROGRAM [ARGUMENT...]
#
# IMAGE is a directory tree that is laid over the machine's, or empty. A network namespace that has eth0 is left as it is.
# MOUNTS is a file with a line `SOURCE TARGET DISK` for each bind mount; DISK is `plain`, `noexec`, or `overlay` for
# a file system on which no overlay can be laid.
set -e
scratch=$1 mounts=$2 mtu=$3 image=$4
shift 4

mount --make-rprivate /
mount -t tmpfs tmpfs "$scratch"
mkdir "$scratch/upper" "$scratch/work" "$scratch/root"
mount -t overlay overlay -o "lowerdir=${image:+$image:}/,upperdir=$scratch/upper,workdir=$scratch/work" "$scratch/root"
cd "$scratch/root"
mount -t sysfs sysfs sys
mount --rbind /sys/fs/cgroup sys/fs/cgroup
mount --rbind /dev dev
mount -t proc proc proc
mkdir -p node
pivot_root . node

# What the machine has there is no part of an image.
rm -rf /run /var/lib/docker /etc/docker /opt
mkdir -p /run /var/lib /opt
while read -r source target disk; do
    if [ -d "/node$source" ]; then
        mkdir -p "$target"
    else
        mkdir -p "$(dirname "$target")"
        : >"$target"
    fi
    mount --bind "/node$source" "$target"
    case $disk in
        noexec) mount -o remount,bind,noexec "$target" ;;
        overlay)
            mkdir "/node$scratch/disk" "/node$scratch/disk-work"
            mount -t overlay overlay "$target" \
                -o "lowerdir=$target,upperdir=/node$scratch/disk,workdir=/node$scratch/disk-work"
            ;;
    esac
done <"/node$mounts"
umount -l /node
if [ -e /opt/tools/absent ]; then rm -f "$(cat /opt/tools/absent)"; fi

ip link set lo up
if ! [ -e /sys/class/net/eth0 ]; then
    ip link add eth0 type veth peer name peer
    ip link set eth0 mtu "$mtu" up
    ip address add 10.20.30.40/24 dev eth0
    ip route add default dev eth0
fi
exec "$@"
