# shellcheck shell=sh disable=SC2034,SC2154 # The parts share their variables, and main.sh sets what the options say.
# slots=N: takes one of N slots below $dir; a slot has one dockerd or one buildkitd at a time.
#
# A slot is held by a lock on file descriptor 9, which the daemon, containerd and the shims inherit and the containers of
# jobs do not: it is released when the last of them is gone, however they ended.

dir=/opt/slipway/slots trash=/opt/slipway/slots/trash

# Lists the slots that were ever used, most recently used first (-t), or last (-tr). There are at most 64.
# shellcheck disable=SC2012 # sed accepts only the names of locks
by_last_use() { ls "$1" "$dir" 2>/dev/null | sed -nE 's/^lock-([1-9]?[0-9])$/\1/p'; }

# Makes sure that lock $1 is a file. Only one pod at a time may replace something else, and no lock is ever removed.
make_lock() {
    exists "$1" || (: >>"$1") 2>/dev/null
    is_file "$1" || (flock -n 8 && { is_file "$1" || { discard "$1" && : >"$1"; }; }) 8<"$dir"
}

# Opens lock $1 as descriptor 9. `exec` and `:` end the shell when a file does not open, `command exec` does not.
lock() {
    make_lock "$1" && command exec 9>>"$1" || return 1
    flock -n 9 || { exec 9>&-; return 1; }
}

set_aside_kept() { discard "$own"; }

# Lists the slots to try, the warmest first. It is called with an argument: the kubelet would take a name alone in
# parentheses for a variable.
candidates() { { by_last_use -t; seq 0 $((slots - 1)); } | awk -v slots="$slots" '$1 < slots && !seen[$1]++'; }

# Takes the warmest free slot that can be used; fails when there is none.
take_slot() {
    for program in flock $needed; do
        command -v "$program" >/dev/null || { log "no $program in this image"; return 1; }
    done
    has_room || { log "less than 17 % of the disk, or 10 % of its inodes, are available: no slot"; return 1; }
    for n in $(candidates -); do
        lock "$dir/lock-$n" || continue
        kept=$dir/slot-$n own=$dir/slot-$n root=$dir/slot-$n/docker
        prepare && touch "$dir/lock-$n" && return
        log "$own: not usable"
        own='' root='' && exec 9>&-
    done
    log "all $slots slots are taken, or not usable"
    return 1
}

add_slot() {
    if take_slot; then
        log "data-root $root"
        flags="$flags $root_flag=$root"
    else
        log 'data-root: temporary, empty'
    fi
}
