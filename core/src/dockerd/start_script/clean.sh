# shellcheck shell=sh disable=SC2154 # main.sh sets what the options say.
# budget=MB: the size to which images and build cache of a kept data-root are pruned before dockerd starts on it.

is_larger_than() { [ "$(head -c 20 "$own/size" 2>/dev/null)" -gt "$1" ] 2>/dev/null; }
is_over_budget() { [ "$budget" -gt 0 ] && is_larger_than "$budget"; }
# Pruning does not reach files that docker knows nothing of. A size after pruning may be a quarter over the budget.
stays_over_budget() { [ "$budget" -gt 0 ] && exists "$own/pruned" && is_larger_than $((budget + budget / 4)); }

# Lists the containers of dead jobs, 501 at most.
leftovers() { search "$root/containers" -mindepth 1 -maxdepth 1 | head -n 501; }

# Replaces what the containers of dead jobs say of their start by nothing: no restart policy, no runtime. Fails where
# there is anything else.
disarm() {
    [ $# -le 500 ] || return 1
    for container; do
        container=${container##*/}
        case $container in *[!0-9a-f]*) return 1 ;; esac
        { echo '{}' >"$root/containers/$container/hostconfig.json"; } 2>/dev/null || return 1
    done
}

# Removes the containers of dead jobs, and prunes to the budget.
clean() {
    rm -f "$own/pruned"
    containers=$(leftovers -)
    [ -n "$containers" ] || is_over_budget || return 0
    log "$root: cleaning"
    # shellcheck disable=SC2086 # names without spaces
    disarm $containers || return 1
    ! is_over_budget || { touch "$own/pruned" && keep_builders 1; }
    mkdir "$own/private" && discard "$own/size" || return 1
    clean_by_dockerd
    [ -z "$(leftovers -)" ]
}

# Prints flag $2, unless daemon.json has one of the keys $1, an expression: dockerd refuses both.
unless() { grep -qsE "\"($1)\"" /etc/docker/daemon.json || echo "$2"; }

# Cleans by a dockerd that no job can reach and that ends before the job's dockerd starts. It reads the same
# daemon.json, which says where images are.
clean_by_dockerd() {
    private=$own/private
    # The job's dockerd waits 20 seconds for cleaning, and a little more for the end of this one.
    # shellcheck disable=SC2046 # flags, without spaces
    timeout -k 5 20 dockerd --host="unix://$private/socket" --exec-root="$private" --pidfile="$private/pid" \
        --data-root="$root" --containerd="$containerd" $(unless 'bridge|bip' --bridge=none) \
        $(unless 'iptables|icc' --iptables=false) $(unless log-level --log-level=error) &
    daemon=$!
    (
        use_docker "unix://$private/socket"
        while [ -e "/proc/$daemon/exe" ] && ! answers; do sleep 0.1; done
        remove "$(docker ps -aq)"
        prune
    ) >/dev/null 2>&1 9>&-
    { kill "$daemon"; wait "$daemon"; } >/dev/null 2>&1
    discard "$private"
}

# Makes `docker` talk to the dockerd at $1, whatever the pod's variables say.
use_docker() {
    # shellcheck disable=SC2046 # names
    unset $(env | sed -n 's/^\(DOCKER_[A-Z_]*\)=.*/\1/p')
    export DOCKER_HOST="$1"
}
answers() { [ -S "${DOCKER_HOST#unix://}" ] && docker version; }
# shellcheck disable=SC2086 # ids, without spaces
remove() { [ -z "$1" ] || docker rm -fv $1; }

# Adds up sizes such as 1.5GB.
in_mb() { awk '{ mb += $1 * (/TB/ ? 1000000 : /GB/ ? 1000 : /MB/) } END { print int(mb) }'; }

# Prunes to the budget. An image with a container stays: that of builders is pulled at each start of one.
prune() {
    if [ "$budget" -gt 0 ] && [ "$(docker system df --format '{{.Size}}' | in_mb)" -gt "$budget" ]; then
        kept=$(docker image ls --format '{{.ID}} {{.Repository}}' | awk '$2 ~ "(^|/)moby/buildkit$" { print $1 }' |
            while read -r image; do docker create "$image"; done)
        docker image prune -af
        remove "$kept"
        # Newer clients have another name for the flag.
        docker builder prune -af --keep-storage "${budget}MB" ||
            docker builder prune -af --reserved-space "${budget}MB"
    fi
}
