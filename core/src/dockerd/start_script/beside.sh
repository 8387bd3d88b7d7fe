# shellcheck shell=sh disable=SC2154 # main.sh sets what the options say.
# With slots: what runs beside dockerd when it is up.

# Prints where dockerd listens, by its arguments: a socket file, if there is one.
listens_on() {
    address=''
    for word; do
        word=${word#*=}
        case $word in
            unix://*) address=$word; break ;;
            tcp://*) address=$word ;;
        esac
    done
    echo "${address:-unix:///var/run/docker.sock}"
}

# In a cgroup namespace of its own (v2), docker's entrypoint moves all processes out of the root, and some of its
# versions fail when one is born there meanwhile. So what runs beside dockerd moves first, to $cgroup. Without such a
# namespace the root is the node's.
find_cgroup() {
    cgroup=/sys/fs/cgroup/init
    read -r own </proc/self/cgroup && [ "$own" = 0::/ ] && mkdir -p "$cgroup" 2>/dev/null || cgroup=''
}

# Waits until the dockerd at $1 is up, and touches nothing of its slot but notes: that dockerd started, and for the next
# start how large the slot is. A dockerd that cannot be asked counts as up after a while: this shell ends with it.
follow() {
    use_docker "$1"
    case $(command -v docker)$1 in
        /*unix://*) for _ in $(seq 600); do answers && break; sleep 0.1; done ;;
        *) sleep 15 ;;
    esac >/dev/null 2>&1
    [ -z "$slot" ] || rm -f "$slot/starting"
    rm -rf "$trash"
    free_disk
    [ -z "$slot" ] || note_size
}

# Deletes free slots, the coldest first: those beyond the number of slots, and others while the disk is too full.
free_disk() {
    for n in $(by_last_use -tr); do
        if [ "$n" -ge "$slots" ] || ! has_room; then
            ! is_file "$dir/lock-$n" || (flock -n 8 && discard "$dir/slot-$n") 8>>"$dir/lock-$n"
            rm -rf "$trash"
        fi
    done
}

# Notes the slot's size in MB, in two steps: a pod that ends in between keeps the note that was there.
note_size() {
    nice du -xsk "$slot" 2>/dev/null | awk '{ print int($1 * 1.024 / 1000) }' >"$slot/size.new" &&
        rm -rf "$slot/size" && mv "$slot/size.new" "$slot/size"
}

# Starts to follow the dockerd with these arguments.
run_beside() {
    find_cgroup
    (
        { [ -z "$cgroup" ] || echo 0 >"$cgroup/cgroup.procs"; } 2>/dev/null
        follow "$(listens_on "$@")"
    ) 9>&- &
}
