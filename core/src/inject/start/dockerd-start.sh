#!/bin/sh
# Starts dockerd, on a data-root that earlier runners left warm where one is free.
#
#   sh -c SCRIPT slipway-start [slots=N] [budget=MB] [mtu=auto] [network-mtu=auto] [containerd=first] -- PROGRAM [ARGUMENT...]
#
# slots=N      take one of N slots below $dir; a slot has one dockerd at a time
# budget=MB    the size to which the slot's images and build cache are pruned
# containerd=first   start containerd before dockerd
# mtu=auto     give dockerd the MTU of the pod's interface; network-mtu=auto: the networks of jobs too
#
# Whatever fails in here, dockerd is started all the same. POSIX sh: docker's image has busybox, others dash.
# A slot is held by a lock on file descriptor 9, which dockerd, containerd and the shims inherit and the
# containers of jobs do not: it falls when the last of them is gone, however they ended.
# Jobs had root: in a slot, and around it, may stand anything. Links are never followed, pipes never opened.

dir=/opt/slipway/slots
slots=0 budget='' slot='' mtu='' network_mtu='' containerd=''
# In percent of the disk. The kubelet leaves 20 available when it deletes images, and evicts pods below 15.
min_available=17
# In seconds: the longest that dockerd's start waits for cleaning.
cleaning_time=20

log() { echo "slipway-start: $*" >&2; }

exists() { [ -e "$1" ] || [ -L "$1" ]; }
is_file() { [ -f "$1" ] && [ ! -L "$1" ]; }
has_room() { df -P "$dir" | awk -v min="$min_available" 'NR == 2 { exit $4 * 100 < $2 * min }'; }

# The slots that were ever used, most recently used first (-t), or last (-tr). There are at most 64.
# shellcheck disable=SC2012 # sed takes no name but those of locks
by_last_use() { ls "$1" "$dir" 2>/dev/null | sed -n 's/^lock-\([0-9]\)$/\1/p; s/^lock-\([1-9][0-9]\)$/\1/p'; }

# Makes sure that lock $1 is a file. Of those who would replace something else, only one may: no lock is ever removed.
make_lock() {
    exists "$dir/lock-$1" || (: >>"$dir/lock-$1") 2>/dev/null
    is_file "$dir/lock-$1" || (
        flock -n 8 && { is_file "$dir/lock-$1" || { rm -rf "$dir/lock-$1" && : >"$dir/lock-$1"; }; }
    ) 8<"$dir"
}

# Opens lock $1 as descriptor 9. `exec` or `:` with a file that does not open end the shell, `command exec` does not.
lock() {
    make_lock "$1" && command exec 9>>"$dir/lock-$1" || return 1
    flock -n 9 && return
    exec 9>&-
    return 1
}

# Puts file or directory $1 out of the way, to be deleted when dockerd is up.
discard() {
    exists "$1" || return 0
    { [ -d "$dir/trash" ] && [ ! -L "$dir/trash" ]; } || rm -rf "$dir/trash"
    # Another pod may be deleting the trash: then there is a new one.
    for _ in 1 2 3; do
        mkdir -p "$dir/trash" && away=$(mktemp -d "$dir/trash/XXXXXX") && mv "$1" "$away/" && return
    done
    return 1
}

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

# Takes the warmest free slot that can be used; fails when there is none.
take_slot() {
    command -v flock >/dev/null || { log 'no flock in this image'; return 1; }
    has_room || { log "less than $min_available % of the disk is available: no slot"; return 1; }
    for n in $({ by_last_use -t; seq 0 $((slots - 1)); } | awk -v slots="$slots" '$1 < slots && !seen[$1]++'); do
        lock "$n" || continue
        slot=$dir/slot-$n
        prepare_slot && touch "$dir/lock-$n" && return
        log "$slot: not usable"
        slot='' && exec 9>&-
    done
    log "all $slots slots are taken, or not usable"
    return 1
}

# What dockerd or this script would open in the slot, and is no plain file. The device is dockerd's, made anew each time.
oddities() {
    [ -d "$slot/docker" ] || ! exists "$slot/docker" || echo "$slot/docker"
    find "$slot" "$slot/docker/containers" "$slot/docker/image/overlay2" -maxdepth 3 \
        ! -type f ! -type d ! -type s ! -name backingFsBlockDev
}

# Of what dead jobs left, images and build cache stay; nothing else may start or be in the way of the next job.
prepare_slot() {
    if exists "$slot/starting"; then
        log "$slot: dockerd did not come up on it last time: set aside"
        discard "$slot" || return 1
    elif [ ! -d "$slot" ] || [ -n "$(oddities 2>/dev/null)" ]; then
        ! exists "$slot" || log "$slot: holds what no dockerd made: set aside"
        discard "$slot" || return 1
    fi
    mkdir -p "$slot/docker" && is_usable "$slot" 2>/dev/null || return 1
    discard "$slot/docker/volumes" || return 1
    rm -rf "$slot/docker/network" "$slot/docker/swarm" "$slot/docker/plugins" "$slot/private"
    if has_containers || is_over_budget; then clean; fi
    if has_containers; then
        log "$slot: not to be cleaned: set aside"
        discard "$slot" && mkdir -p "$slot/docker" || return 1
    fi
    touch "$slot/starting"
}

has_containers() { ls "$slot"/docker/containers/*/config.v2.json >/dev/null 2>&1; }
is_over_budget() { [ -n "$budget" ] && [ "$(cat "$slot/size" 2>/dev/null)" -gt "$budget" ] 2>/dev/null; }

# Whether the dockerd's own settings have one of the keys $1, an expression.
is_configured() { grep -qsE "\"($1)\"" /etc/docker/daemon.json; }

# Removes containers and prunes, by a dockerd that no job can reach: it is gone before the job's dockerd starts.
# It has the settings of the job's, because they say where images are; no setting may be a flag as well.
clean() {
    log "$slot: cleaning"
    set --
    is_configured 'bridge|bip' || set -- "$@" --bridge=none
    is_configured 'iptables|icc' || set -- "$@" --iptables=false
    is_configured log-level || set -- "$@" --log-level=error
    mkdir "$slot/private" && rm -rf "$slot/size" || return 1
    for config in "$slot"/docker/containers/*/hostconfig.json; do
        [ ! -e "$config" ] || sed -i 's/"RestartPolicy":{"Name":"[a-z-]*"/"RestartPolicy":{"Name":"no"/' "$config"
    done
    dockerd --host="unix://$slot/private/socket" --exec-root="$slot/private" --pidfile="$slot/private/pid" \
        --data-root="$slot/docker" "$@" & daemon=$!
    { sleep "$cleaning_time"; kill "$daemon"; sleep 5; kill -KILL "$daemon"; } >/dev/null 2>&1 9>&- & watchdog=$!
    (
        use_docker "unix://$slot/private/socket"
        while [ -e "/proc/$daemon/exe" ] && ! answers; do sleep 0.1; done
        containers=$(docker ps --all --quiet)
        # shellcheck disable=SC2086 # ids, without spaces
        [ -z "$containers" ] || docker rm --force --volumes $containers
        prune
    ) >/dev/null 2>&1 9>&-
    { kill "$daemon"; wait "$daemon"; kill "$watchdog"; } >/dev/null 2>&1
    rm -rf "$slot/private"
}

# Lets `docker` speak to the dockerd at $1, whatever the pod's variables say.
use_docker() {
    unset DOCKER_TLS DOCKER_TLS_VERIFY DOCKER_CERT_PATH DOCKER_CONTEXT DOCKER_API_VERSION DOCKER_CONFIG
    export DOCKER_HOST="$1"
}
answers() { [ -S "${DOCKER_HOST#unix://}" ] && docker version; }

# The sum of sizes such as 1.5GB.
in_mb() { awk '/TB/ { sum += $1 * 1000000 } /GB/ { sum += $1 * 1000 } /MB/ { sum += $1 } END { print int(sum) }'; }

prune() {
    if [ -n "$budget" ] && [ "$(docker system df --format '{{.Size}}' | in_mb)" -gt "$budget" ]; then
        docker image prune --all --force
        # The second name of the flag is that of newer clients.
        docker builder prune --all --force --keep-storage "${budget}MB" ||
            docker builder prune --all --force --reserved-space "${budget}MB"
    fi
}

# Runs beside dockerd, and touches nothing of its slot but notes: whether dockerd came up, and for the next start how
# large the slot is. A dockerd that cannot be asked counts as up after a while: this shell ends with it.
follow() {
    use_docker "$1"
    case $(command -v docker)$1 in
        /*unix://*) tries=600; until answers || [ "$tries" -eq 0 ]; do sleep 0.1; tries=$((tries - 1)); done ;;
        *) sleep 15 ;;
    esac >/dev/null 2>&1
    [ -z "$slot" ] || rm -f "$slot/starting"
    rm -rf "$dir/trash"
    for n in $(by_last_use -tr); do
        if [ "$n" -ge "$slots" ] || ! has_room; then
            ! is_file "$dir/lock-$n" || (flock -n 8 && discard "$dir/slot-$n") 8>>"$dir/lock-$n"
            rm -rf "$dir/trash"
        fi
    done
    [ -n "$slot" ] || return
    # In two steps: a pod that ends before the end leaves the note that was there.
    size=$(nice du -xsk "$slot" 2>/dev/null | awk '{ print int($1 * 1.024 / 1000) }')
    echo "$size" >"$slot/size.new" && rm -rf "$slot/size" && mv "$slot/size.new" "$slot/size"
}

# Starts containerd on data-root $1, as dockerd would, and prints nothing. dockerd looks for the socket of a containerd
# that it starts itself before it can be there, and then again a second later.
start_containerd() {
    state=/var/run/docker/containerd
    command -v containerd >/dev/null && mkdir -p "$state" || return 1
    rm -f "$state"/*.sock "$state"/*.sock.ttrpc
    cat >"$state/containerd.toml" <<END
version = 2
root = "$1/containerd/daemon"
state = "$state/daemon"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"]
[grpc]
address = "$containerd"
END
    containerd --config "$state/containerd.toml" --log-level warn & daemon=$!
    tries=250
    until [ -S "$containerd" ]; do
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] && [ -e "/proc/$daemon/exe" ] && sleep 0.02 || return 1
    done
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

# In a cgroup namespace of its own (v2), docker's entrypoint moves all processes out of the root, and some of its versions end when
# one is born there meanwhile. What runs beside dockerd goes first, to $cgroup. Without such a namespace the root is the node's.
find_cgroup() {
    cgroup=''
    read -r own </proc/self/cgroup && [ "$own" = 0::/ ] && mkdir -p /sys/fs/cgroup/init 2>/dev/null || return 0
    cgroup=/sys/fs/cgroup/init/cgroup.procs
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
        containerd=first) containerd=/var/run/docker/containerd/containerd.sock ;;
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
    if take_slot; then
        log "data-root $slot/docker"
        set -- "$@" "--data-root=$slot/docker"
    else
        log 'data-root: temporary, empty'
    fi
    address=$(listens_on "$@")
    find_cgroup
    (
        { [ -z "$cgroup" ] || echo 0 >"$cgroup"; } 2>/dev/null
        follow "$address"
    ) 9>&- &
fi
if [ -n "$containerd" ]; then
    if start_containerd "${slot:-/var/lib}/docker"; then
        set -- "$@" "--containerd=$containerd"
    else
        log 'containerd did not start: left to dockerd'
        kill "$daemon" 2>/dev/null
    fi
fi
exec "$@"
