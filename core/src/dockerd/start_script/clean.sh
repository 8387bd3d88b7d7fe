# shellcheck shell=sh disable=SC2154 # main.sh sets what the options say.
# budget=MB: the size to which a slot's images and build cache are pruned before dockerd starts on it.

has_containers() { ls "$root"/containers/*/config.v2.json >/dev/null 2>&1; }
is_over_budget() { [ -n "$budget" ] && [ "$(cat "$slot/size" 2>/dev/null)" -gt "$budget" ] 2>/dev/null; }

# Prints flag $2, unless daemon.json has one of the keys $1, an expression: dockerd refuses both.
unless() { grep -qsE "\"($1)\"" /etc/docker/daemon.json || echo "$2"; }

# Removes containers and prunes, by a dockerd that no job can reach and that ends before the job's dockerd starts.
# It reads the same daemon.json, which says where images are.
clean() {
    log "$slot: cleaning"
    mkdir "$private" && rm -rf "$slot/size" || return 1
    for config in "$root"/containers/*/hostconfig.json; do
        [ ! -e "$config" ] || sed -i 's/\("RestartPolicy":{"Name":"\)[a-z-]*/\1no/' "$config"
    done
    # shellcheck disable=SC2046 # flags, without spaces
    dockerd --host="unix://$private/socket" --exec-root="$private" --pidfile="$private/pid" --data-root="$root" \
        $(unless 'bridge|bip' --bridge=none) $(unless 'iptables|icc' --iptables=false) \
        $(unless log-level --log-level=error) &
    daemon=$!
    # The job's dockerd waits 20 seconds for cleaning, and a little more for the end of this one.
    { sleep 20; kill "$daemon"; sleep 5; kill -KILL "$daemon"; } >/dev/null 2>&1 9>&- & watchdog=$!
    (
        use_docker "unix://$private/socket"
        while [ -e "/proc/$daemon/exe" ] && ! answers; do sleep 0.1; done
        containers=$(docker ps -aq)
        # shellcheck disable=SC2086 # ids, without spaces
        [ -z "$containers" ] || docker rm -fv $containers
        prune
    ) >/dev/null 2>&1 9>&-
    { kill "$daemon"; wait "$daemon"; kill "$watchdog"; } >/dev/null 2>&1
    rm -rf "$private"
}

# Makes `docker` talk to the dockerd at $1, whatever the pod's variables say.
use_docker() {
    unset DOCKER_TLS DOCKER_TLS_VERIFY DOCKER_CERT_PATH DOCKER_CONTEXT DOCKER_API_VERSION DOCKER_CONFIG
    export DOCKER_HOST="$1"
}
answers() { [ -S "${DOCKER_HOST#unix://}" ] && docker version; }

# Adds up sizes such as 1.5GB.
in_mb() { awk '{ mb += $1 * (/TB/ ? 1000000 : /GB/ ? 1000 : /MB/) } END { print int(mb) }'; }

prune() {
    if [ -n "$budget" ] && [ "$(docker system df --format '{{.Size}}' | in_mb)" -gt "$budget" ]; then
        docker image prune -af
        # Newer clients have another name for the flag.
        docker builder prune -af --keep-storage "${budget}MB" ||
            docker builder prune -af --reserved-space "${budget}MB"
    fi
}
