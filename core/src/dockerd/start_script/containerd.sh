# shellcheck shell=sh disable=SC2154 # main.sh sets what the options say.
# Starts containerd before dockerd: for a kept data-root, or by containerd=first. dockerd looks for the socket of a
# containerd that it starts itself before it can be there, and then again a second later.
#
# Nothing starts by itself: containerd's restart monitor, which dockerd leaves on, is off.

state=/var/run/docker/containerd
containerd=$state/containerd.sock

# Starts containerd on data-root $1, as dockerd would.
start_containerd() {
    command -v containerd >/dev/null && mkdir -p "$state" || return 1
    rm -f "$state"/*.sock "$state"/*.sock.ttrpc
    cat >"$state/containerd.toml" <<END
version = 2
root = "$1/containerd/daemon"
state = "$state/daemon"
disabled_plugins = ["io.containerd.internal.v1.restart", "io.containerd.monitor.container.v1.restart",
 "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"]
[grpc]
address = "$containerd"
END
    keep_containerd & keeper=$!
    tries=250
    until [ -S "$containerd" ]; do
        tries=$((tries - 1))
        if [ "$tries" -eq 0 ] || [ ! -e "/proc/$keeper/exe" ]; then stop_containerd; return 1; fi
        sleep 0.02
    done
}

# Runs containerd, and again where it is killed, as dockerd would.
keep_containerd() {
    trap 'kill "$child"; exit' TERM
    while :; do
        started=$(date +%s)
        containerd --config "$state/containerd.toml" --log-level warn & child=$!
        wait "$child"
        [ "$(date +%s)" -gt $((started + 2)) ] || exit
    done
}

# Stops the containerd of a data-root that is not used after all, if one was started.
stop_containerd() {
    [ -z "$keeper" ] || { kill "$keeper"; wait "$keeper"; } 2>/dev/null
    keeper=''
}

add_containerd() {
    if start_containerd /var/lib/docker; then
        flags="$flags --containerd=$containerd"
    else
        log 'containerd did not start: left to dockerd'
    fi
}
