# shellcheck shell=sh disable=SC2154 # main.sh sets what the options say.
# Prepares a kept data-root for the next dockerd.

# Leaves images, build cache and builders of dead jobs on $root, and nothing else of them: nothing that dockerd or containerd
# would start, or wait for. Fails where nothing can be kept there.
prepare() {
    reason=''
    if exists "$own/starting"; then
        reason='dockerd did not start on it last time'
    elif is_odd "$own" || is_odd "$root" || ! discard_unkept || [ -n "$(oddities -)" ]; then
        reason='holds files that dockerd did not make'
    elif stays_over_budget; then
        reason='is too large, and was pruned last time'
    fi
    [ -z "$reason" ] || set_aside "$reason" || return 1
    mkdir -p "$root" && is_usable "$own" "$dir" 2>/dev/null && touch "$own/starting" || return 1
    start_containerd "$root" && clean && return
    stop_containerd
    set_aside 'could not be cleaned' && mkdir -p "$root" && touch "$own/starting" && start_containerd "$root"
}

set_aside() {
    log "$kept: $1: set aside"
    set_aside_kept
}

# What is not kept: dockerd makes these directories again.
discard_unkept() {
    for name in volumes network swarm plugins runtimes tmp; do discard "$root/$name" || return 1; done
    discard "$own/private" && keep_builders 2
}
