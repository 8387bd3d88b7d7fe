# shellcheck shell=sh disable=SC2154 # main.sh sets what the options say.
# A kept data-root: $root, which dockerds of earlier jobs used. $own is where this script keeps its notes, $kept holds
# both, and $trash is on the same file system.
#
# Jobs have root, so anything may be in there. Links are never followed, pipes never opened, and nothing before dockerd's
# start takes unbounded time: what has to go moves to the trash, which is deleted when dockerd is up.

exists() { [ -e "$1" ] || [ -L "$1" ]; }
is_file() { [ -f "$1" ] && [ ! -L "$1" ]; }
is_dir() { [ -d "$1" ] && [ ! -L "$1" ]; }
is_odd() { exists "$1" && ! is_dir "$1"; }

# Moves $1 to the trash.
discard() {
    exists "$1" || return 0
    is_dir "$trash" || rm -f "$trash"
    # Another pod may be deleting the trash, and then there is a new one.
    for _ in 1 2 3; do
        mkdir -p "$trash" && away=$(mktemp -d "$trash/XXXXXX") && mv "$1" "$away/" && return
    done
    return 1
}

# Deletes the trash. Where `rm` cannot delete a path because it is too long, the directories ten levels down move to the
# top, until all paths are short.
empty_trash() {
    for _ in $(seq 400); do
        rm -rf "$trash"
        exists "$trash" || return
        find "$trash" -mindepth 10 -maxdepth 10 -type d \
            -exec sh -c 'mv "$1" "$(mktemp -d "$0/XXXXXX")"' "$trash" {} \;
    done 2>/dev/null
}

# Tries whether programs run and overlays work in $1. Some systems mount /var noexec.
is_usable() (
    discard "$1/probe" && mkdir -p "$1/probe" && cd "$1/probe" && mkdir -p lower upper work merged || exit 1
    printf '#!/bin/sh\n' >run && chmod 755 run
    ./run || mount -o remount,bind,exec,suid,dev "$2" && ./run || exit 1
    mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged && umount merged && rm -rf "$1/probe"
)

# Runs `find` for five seconds. What takes longer is odd, too.
search() {
    exists "$1" || return 0
    timeout 5 find "$@" 2>/dev/null
    case $? in 124 | 143) echo "$1" ;; esac
}

# Lists oddities below directory $1.
oddities_below() {
    search "$1" -path '*/snapshots/*/*' -prune -o \
        ! -type f ! -type d ! -type s -print -o \
        \( -path "$root/image/*" ! -name '*.gz' -o -name '*.json' \) -size +131072k -print
}

# Lists what dockerd, containerd, a builder or this script would open and is not a plain file, and what dockerd would read
# whole and is too large for that. Layers may hold anything: nobody opens what is in them. dockerd makes its device at
# each start.
oddities() {
    for path in "$own" "$root"; do
        search "$path" -maxdepth 1 \( ! -type f ! -type d ! -type s -o -type f -size +64k \) \
            ! -name backingFsBlockDev
    done
    for path in "$root/image" "$root/containers" "$root/buildkit" "$root/containerd" "$own/builders"; do
        oddities_below "$path"
    done
    search "$root/overlay2" -mindepth 2 -maxdepth 2 ! -path '*/overlay2/l/*' \
        \( ! -type f ! -type d -o -type f -size +64k \)
}

# Discards the states of builders beyond the $1 last used. Such a state is that of one version of BuildKit.
keep_builders() {
    # shellcheck disable=SC2012 # what is no name of a state is discarded or stays, and counts
    ls -t "$own/builders" 2>/dev/null | tail -n "+$(($1 + 1))" | while read -r state; do
        discard "$own/builders/$state" || return 1
    done
}
