# shellcheck shell=sh disable=SC2034,SC2154 # main.sh sets what the options say, and other parts read what this sets.
# claim: dockerd's usual data-root is on a claim that outlives the pod, and no other pod has it.

set_aside_kept() {
    for path in "$kept"/* "$kept"/.[!.]*; do
        case $path in "$own" | */lost+found) ;; *) discard "$path" || return 1 ;; esac
    done
    discard "$own/builders" && discard "$own/size" && rm -f "$own/starting"
}

# Prepares the claim. Where it cannot be kept, dockerd gets an empty data-root on it.
add_claim() {
    dir=/var/lib/docker
    kept=$dir root=$dir own=$dir/slipway trash=$dir/slipway/trash
    command -v containerd >/dev/null || { root='' own='' && return; }
    is_dir "$own" || { rm -f "$own" && mkdir "$own"; } 2>/dev/null
    prepare && log 'data-root: the claim' && return
    log 'data-root: an empty one, the claim is not usable'
    root=$own/empty
    discard "$root" && mkdir -p "$root" && flags="$flags --data-root=$root" && start_containerd "$root" || root='' own=''
}
