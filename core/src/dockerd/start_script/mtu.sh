# shellcheck shell=sh disable=SC2154 # main.sh sets what the options say.
# mtu=auto: gives dockerd the MTU of the pod's interface. network-mtu=auto: the networks of jobs too.

# Prints the MTU of the interface with the default route. $1 is the root of the file system.
pod_mtu() {
    interface=$(awk '$2 == "00000000" { print $1; exit }' "$1/proc/net/route")
    cat "$1/sys/class/net/${interface:-eth0}/mtu"
}

# IPv4 needs 576 bytes at least.
add_mtu() {
    found=$(pod_mtu '' 2>/dev/null) && [ "$found" -ge 576 ] || return
    flags="$flags --mtu=$found"
    [ -z "$network_mtu" ] || flags="$flags --default-network-opt=bridge=com.docker.network.driver.mtu=$found"
}
