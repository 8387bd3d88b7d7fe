# shellcheck shell=sh disable=SC2034,SC2154 # The parts share their variables.
# claim: the state of buildkitd is on a claim that outlives the pod, and no other pod has it. A dockerd may have used it
# before, and its data-root stays.

add_claim() {
    dir=/opt/slipway/claim own=/opt/slipway/claim/slipway trash=/opt/slipway/claim/slipway/trash
    is_dir "$own" || { rm -f "$own" && mkdir "$own"; } 2>/dev/null
    if prepare; then
        log "data-root $root"
        flags="$flags $root_flag=$root"
    else
        log 'data-root: temporary, empty'
    fi
}
