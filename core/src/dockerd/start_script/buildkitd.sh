# shellcheck shell=sh disable=SC2034,SC2154 # The parts read what the options say.
# Starts buildkitd in a pod without dockerd:
#
#   sh -c SCRIPT slipway-start [OPTION...] -- ENTRYPOINT [ARGUMENT...]
#
# slots=N and claim: with the state that buildkitds of earlier jobs left, see state.sh. buildx: `docker buildx` in the
# runner finds buildkitd. Whatever fails in here, buildkitd is started all the same. main.sh does this for dockerd.

log() { echo "slipway-start: $*" >&2; }

address=unix:///opt/slipway/buildkit/buildkitd.sock buildx=''
root='' flags=''
slots=0 needed='' root_flag=--root # only: state
while [ $# -gt 0 ]; do
    case $1 in
        slots=*) slots=${1#*=} ;; # only: slots
        buildx) buildx=/opt/slipway/buildx ;;
        --) shift; break ;;
    esac
    shift
done
# Older images have no entrypoint but buildkitd.
command -v "$1" >/dev/null || { shift; set -- buildkitd "$@"; }

# Writes what `docker buildx create --driver remote` would write in directory $1, for everyone to change. Jobs can write
# there, so nothing that exists is touched.
share_builder() (
    umask 0
    set -C
    mkdir "$1/instances" && echo '{"Key":"","Name":"slipway","Global":true}' >"$1/current" &&
        echo '{"Name":"slipway","Driver":"remote","Nodes":[{"Name":"slipway0","Endpoint":"'"$address"'"}],"Dynamic":false}' \
            >"$1/instances/slipway"
) 2>/dev/null

[ -z "$buildx" ] || share_builder "$buildx"
add_slot # only: slots
add_claim # only: stateclaim
[ -z "$root" ] || follow 9>&- & # only: state
# shellcheck disable=SC2086 # flags, without spaces
exec "$@" $flags
