# shellcheck shell=sh disable=SC2034,SC2154 # buildkitd.sh sets what the options say, and slots.sh reads what this sets.
# The kept state of buildkitd: it stands among those of the builders that jobs create, which runc.sh keeps, and by the
# same rule. A state is that of one version of BuildKit, told by its program.

# Prepares the state in $own, and sets $root to it. Fails where nothing can be kept there.
prepare() {
    root=''
    program=$(command -v buildkitd) && states=$own/builders || return 1
    key=$(stat -Lc %s-%Y "$program")-$(head -c 65536 "$program" | md5sum | cut -c 1-32)
    [ "${#key}" -gt 36 ] || return 1
    state=$states/$key
    ! exists "$own" || is_dir "$own" || discard "$own" || return 1
    if [ -n "$(oddities_below "$states")" ]; then
        log "$states: holds files that no builder made: set aside"
        discard "$states" || return 1
    elif exists "$state/starting"; then
        log "$state: buildkitd did not start on it last time: set aside"
        discard "$state" || return 1
    fi
    if [ -d "$state/state" ]; then found=warm; else found=cold; fi
    mkdir -p "$state/state" && is_usable "$own" "$dir" 2>/dev/null && touch "$state" "$state/starting" &&
        keep_builders 2 || return 1
    root=$state/state
    log "$found"
}

# Waits until buildkitd is up. That one which crashes on its state ends this too, and leaves the note.
follow() {
    for _ in $(seq 300); do
        ! buildctl --addr "$address" debug workers || { rm -f "$state/starting"; break; }
        sleep 0.2
    done >/dev/null 2>&1
    empty_trash
    free_disk
}
