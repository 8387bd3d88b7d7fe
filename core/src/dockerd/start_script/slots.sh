# shellcheck shell=sh disable=SC2154 # main.sh sets what the options say.
# slots=N: takes one of N slots below $dir as data-root; a slot has one dockerd at a time.
#
# A slot is held by a lock on file descriptor 9, which dockerd, containerd and the shims inherit and the containers of
# jobs do not: it is released when the last of them is gone, however they ended.
# Jobs have root, so anything may be in a slot and beside it: links are never followed, pipes never opened.

dir=/opt/slipway/slots trash=/opt/slipway/slots/trash

exists() { [ -e "$1" ] || [ -L "$1" ]; }
is_file() { [ -f "$1" ] && [ ! -L "$1" ]; }
# Of the disk, the kubelet deletes images until 20 % are available, and evicts pods below 15 %.
has_room() { df -P "$dir" | awk 'NR == 2 { exit $4 * 100 < $2 * 17 }'; }

# Lists the slots that were ever used, most recently used first (-t), or last (-tr). There are at most 64.
# shellcheck disable=SC2012 # sed accepts only the names of locks
by_last_use() { ls "$1" "$dir" 2>/dev/null | sed -nE 's/^lock-([1-9]?[0-9])$/\1/p'; }

# Makes sure that lock $1 is a file. Only one pod at a time may replace something else, and no lock is ever removed.
make_lock() {
    exists "$1" || (: >>"$1") 2>/dev/null
    is_file "$1" || (flock -n 8 && { is_file "$1" || { rm -rf "$1" && : >"$1"; }; }) 8<"$dir"
}

# Opens lock $1 as descriptor 9. `exec` and `:` end the shell when a file does not open, `command exec` does not.
lock() {
    make_lock "$1" && command exec 9>>"$1" || return 1
    flock -n 9 || { exec 9>&-; return 1; }
}

# Moves $1 to the trash, which is deleted when dockerd is up.
discard() {
    exists "$1" || return 0
    { [ -d "$trash" ] && [ ! -L "$trash" ]; } || rm -rf "$trash"
    # Another pod may be deleting the trash, and then there is a new one.
    for _ in 1 2 3; do
        mkdir -p "$trash" && away=$(mktemp -d "$trash/XXXXXX") && mv "$1" "$away/" && return
    done
    return 1
}

set_aside() {
    log "$slot: $1: set aside"
    discard "$slot"
}

# Tries whether programs run and overlays work in $1. Some systems mount /var noexec.
is_usable() (
    rm -rf "$1/probe"
    mkdir -p "$1/probe" && cd "$1/probe" && mkdir -p lower upper work merged || exit 1
    printf '#!/bin/sh\n' >run && chmod 755 run
    ./run || mount -o remount,bind,exec,suid,dev "$dir" && ./run || exit 1
    mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged && umount merged && rm -rf "$1/probe"
)

# Lists the slots to try, the warmest first. It is called with an argument: the kubelet would take a name alone in
# parentheses for a variable.
candidates() { { by_last_use -t; seq 0 $((slots - 1)); } | awk -v slots="$slots" '$1 < slots && !seen[$1]++'; }

# Takes the warmest free slot that can be used; fails when there is none.
take_slot() {
    command -v flock >/dev/null || { log 'no flock in this image'; return 1; }
    has_room || { log "less than 17 % of the disk is available: no slot"; return 1; }
    for n in $(candidates -); do
        lock "$dir/lock-$n" || continue
        slot=$dir/slot-$n
        root=$slot/docker private=$slot/private
        prepare_slot && touch "$dir/lock-$n" && return
        log "$slot: not usable"
        slot='' && exec 9>&-
    done
    log "all $slots slots are taken, or not usable"
    return 1
}

# Lists what dockerd or this script would open in the slot and is not a plain file. dockerd makes its device at each
# start.
oddities() {
    [ -d "$root" ] || ! exists "$root" || echo "$root"
    find "$slot" "$root/containers" "$root/image/overlay2" -maxdepth 3 \
        ! -type f ! -type d ! -type s ! -name backingFsBlockDev
}

# Keeps the images and the build cache of dead jobs. Nothing else of them may start, or be in the way of the next job.
prepare_slot() {
    if exists "$slot/starting"; then
        set_aside 'dockerd did not start on it last time' || return 1
    elif exists "$slot" && { [ ! -d "$slot" ] || [ -n "$(oddities 2>/dev/null)" ]; }; then
        set_aside 'holds files that dockerd did not make' || return 1
    fi
    mkdir -p "$root" && is_usable "$slot" 2>/dev/null && discard "$root/volumes" || return 1
    rm -rf "$root/network" "$root/swarm" "$root/plugins" "$private"
    if has_containers || is_over_budget; then clean; fi
    if has_containers; then
        set_aside 'could not be cleaned' && mkdir -p "$root" || return 1
    fi
    touch "$slot/starting"
}

add_slot() {
    if take_slot; then
        log "data-root $root"
        flags="$flags --data-root=$root"
    else
        log 'data-root: temporary, empty'
    fi
}
