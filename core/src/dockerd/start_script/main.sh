# shellcheck shell=sh disable=SC2034,SC2154 # The parts read what the options say.
# Starts dockerd, with flags for what only the node knows:
#
#   sh -c SCRIPT slipway-start [OPTION...] -- PROGRAM [ARGUMENT...]
#
# Each part explains its options. A script has only the parts, and the lines marked `only:`, that its options need; see
# mod.rs. Whatever fails in here, dockerd is started all the same. POSIX sh: docker's image has busybox, others dash.

log() { echo "slipway-start: $*" >&2; }

# The kept data-root, and where this script keeps its notes; see kept.sh.
root='' own='' flags=''
slots=0 budget=0 keeper='' # only: kept
needed=containerd root_flag=--data-root # only: slots
builders='' bin='' # only: builders
network_mtu='' # only: mtu
while [ $# -gt 0 ]; do
    case $1 in
        slots=*) slots=${1#*=} ;; # only: slots
        budget=*) budget=${1#*=} ;; # only: kept
        builders=*) builders=${1#*=} ;; # only: builders
        network-mtu=auto) network_mtu=auto ;; # only: mtu
        --) shift; break ;;
    esac
    shift
done
# An image without docker's entrypoint has dockerd itself.
[ $# -eq 0 ] || command -v "$1" >/dev/null || shift
case ${1:-} in '' | -*) set -- dockerd "$@" ;; esac

# A killed dockerd leaves them behind in the pod's /run, and the next one does not start.
rm -f /var/run/docker.pid /var/run/docker/containerd/containerd.pid
add_mtu # only: mtu
find_runtime 2>/dev/null # only: builders
add_slot # only: slots
add_claim # only: claim
add_builders # only: builders
if [ -n "$root" ]; then flags="$flags --containerd=$containerd"; else stop_containerd; fi # only: kept
[ -n "$root" ] || add_containerd # only: containerd
run_beside "$@" # only: kept
# shellcheck disable=SC2086 # flags, without spaces
exec "$@" $flags
