# shellcheck shell=sh disable=SC2154 # main.sh sets what the options say.
# Room on the disk of the slots.

# Of the disk, the kubelet deletes images until 20 % are available, and evicts pods below 15 %; of inodes, below 5 %.
# A file system without a fixed number of inodes says that it has none.
has_room() {
    df -P "$dir" | awk 'NR == 2 { exit $4 * 100 < $2 * 17 }' &&
        df -Pi "$dir" 2>/dev/null | awk 'NR == 2 { exit $4 * 100 < $2 * 10 }'
}

# Deletes free slots, the coldest first: those beyond the number of slots, and others while the disk is too full.
free_disk() {
    [ "$slots" -gt 0 ] || return 0
    for n in $(by_last_use -tr); do
        if [ "$n" -ge "$slots" ] || ! has_room; then
            ! is_file "$dir/lock-$n" || (flock -n 8 && discard "$dir/slot-$n") 8>>"$dir/lock-$n"
            empty_trash
        fi
    done
}
