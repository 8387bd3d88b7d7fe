#!/bin/sh
# Starts dockerd, on a data-root that earlier runners left warm where one is free.
#
#   sh -c SCRIPT slipway-start [slots=N] [budget=MB] [mtu=auto] [network-mtu=auto] -- PROGRAM [ARGUMENT...]
#
# slots=N      take one of N slots below $dir; a slot has one dockerd at a time
# budget=MB    the size to which the slot's images and build cache are pruned
# mtu=auto     give dockerd the MTU of the pod's interface; network-mtu=auto: the networks of jobs too
#
# Whatever fails in here, dockerd is started all the same. POSIX sh: docker's image has busybox, others dash.
# A slot is held by a lock on file descriptor 9, which dockerd, containerd and the shims inherit and the
# containers of jobs do not: it falls when the last of them is gone, however they ended.

dir=/opt/slipway/slots
slots=0 budget='' slot='' mtu='' network_mtu=''
# Above this share of the disk, in percent, caches go: the kubelet evicts pods from 85 on.
disk_full=80

log() { echo "slipway-start: $*" >&2; }

# The slots that were ever used, most recently used first: the first one is the warmest.
by_last_use() { (cd "$dir" && ls -t) 2>/dev/null | sed -n 's/^lock-\([0-9][0-9]*\)$/\1/p'; }

# Opens lock $1 as descriptor 9. A failing `exec` would end the shell, so the file is tried before.
lock() {
    (: >>"$dir/lock-$1") 2>/dev/null || return 1
    exec 9>>"$dir/lock-$1"
    flock -n 9 2>/dev/null && return
    exec 9>&-
    return 1
}

# Puts a directory out of the way, to be deleted when dockerd is up.
discard() { mkdir -p "$dir/trash" && mv "$1" "$dir/trash/$(date +%s)-${1##*/}"; }

# Whether programs run and overlays work in directory $1. Some systems mount /var noexec.
is_usable() {
    probe=$1/probe
    rm -rf "$probe"
    mkdir -p "$probe/lower" "$probe/upper" "$probe/work" "$probe/merged" || return 1
    printf '#!/bin/sh\n' >"$probe/run" && chmod 755 "$probe/run"
    "$probe/run" || mount -o remount,bind,exec,suid,dev "$dir" && "$probe/run" || return 1
    mount -t overlay overlay -o "lowerdir=$probe/lower,upperdir=$probe/upper,workdir=$probe/work" "$probe/merged" &&
        umount "$probe/merged" && rm -rf "$probe"
}

# The names of the directories that hold the files $@.
parents() { for file; do [ ! -e "$file" ] || basename "${file%/*}"; done; }

# Takes the warmest free slot; fails when there is none.
take_slot() {
    command -v flock >/dev/null || { log 'no flock in this image'; return 1; }
    for n in $(by_last_use) $(seq 0 $((slots - 1))); do
        if [ "$n" -lt "$slots" ] && lock "$n"; then
            slot=$dir/slot-$n
            touch "$dir/lock-$n"
            return
        fi
    done
    log "all $slots slots are taken"
    return 1
}

prepare_slot() {
    if [ -e "$slot/starting" ]; then
        log "$slot: dockerd did not come up on it last time: set aside"
        discard "$slot" || return 1
    fi
    mkdir -p "$slot/docker" && is_usable "$slot" 2>/dev/null || return 1
    # Images and build cache stay. Of what dead jobs left, nothing may start or be in the way of the next one.
    rm -rf "$slot/docker/network" "$slot/docker/swarm" "$slot/docker/plugins"
    containers=$(parents "$slot"/docker/containers/*/config.v2.json)
    volumes=$(parents "$slot"/docker/volumes/*/_data)
    for config in "$slot"/docker/containers/*/hostconfig.json; do
        [ ! -e "$config" ] || sed -i 's/"RestartPolicy":{"Name":"[a-z-]*"/"RestartPolicy":{"Name":"no"/' "$config"
    done
    : >"$slot/starting"
}

# The share of the disk that is used, in percent.
disk_use() { df -P "$1" | awk 'NR == 2 { print int($5) }'; }

# The sum of sizes such as 1.5GB.
in_megabytes() {
    awk '/TB/ { sum += $1 * 1000000 } /GB/ { sum += $1 * 1000 } /MB/ { sum += $1 } END { print int(sum) }'
}

prune() {
    if [ "$(disk_use "$dir")" -ge "$disk_full" ]; then
        log "$dir: the disk is more than $disk_full % full: emptying this slot and the free ones"
        budget=0
        for n in $(by_last_use); do
            (exec 8>>"$dir/lock-$n" && flock -n 8 && [ -d "$dir/slot-$n" ] && discard "$dir/slot-$n")
        done
    fi
    if [ -n "$budget" ] && [ "$(docker system df --format '{{.Size}}' | in_megabytes)" -gt "$budget" ]; then
        docker image prune --all --force
        # The second name of the flag is that of newer clients.
        docker builder prune --all --force --keep-storage "${budget}MB" ||
            docker builder prune --all --force --reserved-space "${budget}MB"
    fi
}

# Runs beside dockerd: when it is up, clears what dead jobs left and prunes to the budget. Where it cannot be asked,
# it counts as up after a while: this shell ends with it.
clean_up() {
    case $(command -v docker)$DOCKER_HOST in
        /*unix://*) until [ -S "${DOCKER_HOST#unix://}" ] && docker ps --quiet; do sleep 0.1; done ;;
        *) sleep 15 ;;
    esac >/dev/null 2>&1
    rm -f "$slot/starting"
    # shellcheck disable=SC2086 # ids and names, without spaces
    {
        [ -z "$containers" ] || docker rm --force --volumes -- $containers
        [ -z "$volumes" ] || docker volume rm --force -- $volumes
        prune
    } >/dev/null
    rm -rf "$dir/trash"
}

# Where dockerd listens, by its arguments: a socket file, if there is one.
listens_on() {
    address=''
    for word; do
        case ${word#*=} in
            unix://*) address=${word#*=}; break ;;
            tcp://*) address=${word#*=} ;;
        esac
    done
    echo "${address:-unix:///var/run/docker.sock}"
}

# The MTU of the interface with the default route.
pod_mtu() {
    interface=$(awk '$2 == "00000000" { print $1; exit }' /proc/net/route)
    cat "/sys/class/net/${interface:-eth0}/mtu"
}

while [ $# -gt 0 ]; do
    case $1 in
        slots=*) slots=${1#*=} ;;
        budget=*) budget=${1#*=} ;;
        mtu=auto) mtu=auto ;;
        network-mtu=auto) network_mtu=auto ;;
        --) shift; break ;;
    esac
    shift
done
# An image without docker's entrypoint has dockerd itself.
[ $# -eq 0 ] || command -v "$1" >/dev/null || shift
case ${1:-} in '' | -*) set -- dockerd "$@" ;; esac

# A killed dockerd leaves them behind in the pod's /run, and the next one does not start.
rm -f /var/run/docker.pid /var/run/docker/containerd/containerd.pid
if [ -n "$mtu$network_mtu" ] && found=$(pod_mtu 2>/dev/null) && [ "$found" -ge 576 ]; then
    set -- "$@" "--mtu=$found"
    [ -z "$network_mtu" ] || set -- "$@" "--default-network-opt=bridge=com.docker.network.driver.mtu=$found"
fi
if [ "$slots" -gt 0 ]; then
    if take_slot && prepare_slot; then
        log "data-root $slot/docker"
        set -- "$@" "--data-root=$slot/docker"
        (DOCKER_HOST=$(listens_on "$@") && export DOCKER_HOST && clean_up) 9>&- &
    else
        [ -z "$slot" ] || log "$slot: not usable"
        log 'data-root: temporary, empty'
        exec 9>&-
    fi
fi
exec "$@"
