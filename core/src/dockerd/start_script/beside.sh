# shellcheck shell=sh disable=SC2154 # main.sh sets what the options say.
# With a kept data-root: what runs beside dockerd when it is up.

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
    read -r own_cgroup </proc/self/cgroup && [ "$own_cgroup" = 0::/ ] && mkdir -p "$cgroup" 2>/dev/null || cgroup=''
}

# Waits until the dockerd at $1 is up, and touches nothing of its data-root but notes: that dockerd started, and for the
# next start how large it is. A dockerd that cannot be asked counts as up after a while: this shell ends with it.
follow() {
    use_docker "$1"
    case $(command -v docker)$1 in
        /*unix://*) for _ in $(seq 600); do answers && break; sleep 0.1; done ;;
        *) sleep 15 ;;
    esac >/dev/null 2>&1
    [ -z "$own" ] || rm -f "$own/starting"
    empty_trash
    free_disk
    [ -z "$own" ] || note_size
}

# Notes the size in MB, in two steps: a pod that ends in between keeps the note that was there. A file counts as 16 KB at
# least, about what a disk has room for; a tree that `du` cannot follow to its end is too large.
note_size() {
    mb=$(LC_ALL=C nice du -xsk "$kept" 2>"$own/du.log" | awk '{ print int($1 * 1.024 / 1000) }')
    least=$(nice find "$kept" -xdev 2>/dev/null | awk 'END { print int(NR * 16 / 1000) }')
    ! grep -q 'too long' "$own/du.log" || mb=1000000000
    [ "$mb" -ge "$least" ] || mb=$least
    echo "$mb" >"$own/size.new" && rm -rf "$own/size" && mv "$own/size.new" "$own/size"
}

# Starts to follow the dockerd with these arguments.
run_beside() {
    find_cgroup
    (
        { [ -z "$cgroup" ] || echo 0 >"$cgroup/cgroup.procs"; } 2>/dev/null
        follow "$(listens_on "$@")"
    ) 9>&- &
}
