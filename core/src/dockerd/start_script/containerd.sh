# shellcheck shell=sh disable=SC2154 # main.sh sets what the options say.
# containerd=first: starts containerd before dockerd. dockerd looks for the socket of a containerd that it starts itself
# before it can be there, and then again a second later.

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

add_containerd() {
    if start_containerd "${slot:-/var/lib}/docker"; then
        flags="$flags --containerd=$containerd"
    else
        log 'containerd did not start: left to dockerd'
        kill "$daemon" 2>/dev/null
    fi
}
