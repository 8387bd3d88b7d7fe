# shellcheck shell=sh disable=SC2154 # builders.sh writes what this uses
# The runtime wrapper, which containerd's shim starts as `runc`. What it does not know it leaves alone, and it never
# changes what the real runtime prints or returns.
#
# $bin: its directory. $real: the real runtime. $states: where the states of builders are kept, empty where nothing is.
# $main: the process whose standard error is the container's log.

log() { echo "slipway-runc: builder $id: $*" >>"/proc/$main/fd/2"; } 2>/dev/null

# Forgets that container $id has a state, so that the next one can have it.
release() {
    [ -e "$bin/held/$id" ] && rmdir "$bin/locks/$(cat "$bin/held/$id")"
    rm -f "$bin/held/$id"
} 2>/dev/null

call() {
    "$real" "$@"
    code=$?
}

# Counts how often the container was created in a row, each time within 15 seconds: builders restart when they crash.
count_starts() {
    starts=1 now=$(date +%s)
    if read -r last count <"$bin/starts/$id" && [ $((now - last)) -le 15 ]; then starts=$((count + 1)); fi 2>/dev/null
    echo "$now $starts" >"$bin/starts/$id"
}

# Takes the state of this version of BuildKit, told by its program. It belongs to one builder at a time.
take_state() {
    program=$rootfs/usr/bin/buildkitd
    [ -n "$states" ] && [ -f "$program" ] && [ ! -L "$program" ] || return 1
    key=$(stat -c %s-%Y "$program")-$(head -c 65536 "$program" | md5sum | cut -c 1-32)
    [ "${#key}" -gt 36 ] || return 1
    mkdir "$bin/locks/$key" 2>/dev/null || { log 'cold: another builder has the state'; return 1; }
    echo "$key" >"$bin/held/$id"
    state=$states/$key/state
    [ "$starts" -eq 1 ] || { mv "$states/$key" "$states/crashed-$now" && log 'it crashed on its state: set aside'; }
    if [ -d "$state" ]; then found=warm; else found=cold; fi
    if [ -L "$states/$key" ] || [ -L "$state" ] || ! mkdir -p "$state" || ! touch "$states/$key"; then
        release
        return 1
    fi
    log "$found"
} 2>/dev/null

command='' bundle=. id=''
for word; do
    case $id in -b | --bundle) bundle=$word ;; esac
    case $word in
        --bundle=*) bundle=${word#*=} ;;
        create | delete) command=${command:-$word} ;;
    esac
    id=$word
done
if [ "$command" = delete ] && [ -e "$bin/held/$id" ]; then
    call "$@"
    [ "$code" -ne 0 ] || release
    exit "$code"
fi
spec=$bundle/config.json
mount='{"destination":"/var/lib/buildkit","type":"bind","source":"[^"]*/volumes/buildx_buildkit_[^"/]*_state/_data"'
if [ "$command" != create ] || ! grep -q "$mount" "$spec" 2>/dev/null; then exec "$real" "$@"; fi

# After a crash on a fresh state, nothing is changed any more.
count_starts
[ "$starts" -le 2 ] || exec "$real" "$@"
rootfs=$(sed -n 's/.*"root":{"path":"\([^"]*\)".*/\1/p' "$spec")
case $rootfs in /*) ;; *) rootfs=$bundle/$rootfs ;; esac
config=''
# A configuration of the job's own stays. An empty file is what a mount leaves behind.
if [ -s "$bin/buildkitd.toml" ] && [ ! -s "$rootfs/etc/buildkit/buildkitd.toml" ]; then
    config='{"destination":"/etc/buildkit/buildkitd.toml","type":"bind","source":"'$bin'/buildkitd.toml","options":["rbind","ro"]},'
fi
if take_state; then
    edit="s|$mount|$config{\"destination\":\"/var/lib/buildkit\",\"type\":\"bind\",\"source\":\"$state\"|"
else
    edit="s|$mount|$config&|"
fi
sed "$edit" "$spec" >"$spec.new" && mv "$spec.new" "$spec"
call "$@"
[ "$code" -eq 0 ] || release
exit "$code"
