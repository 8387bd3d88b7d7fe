# shellcheck shell=sh disable=SC2154 # main.sh sets what the options say.
# builders=TOML: puts a wrapper before the OCI runtime, for the builders that jobs create (`docker buildx create`): it gives
# them the state that earlier ones left, where a data-root is kept, and a buildkitd.toml with the mirrors in TOML.
# buildx mounts the volume `buildx_buildkit_NAME_state` on /var/lib/buildkit; dockerd starts containers by the name
# `runc`, so PATH decides which program that is.

# Writes the wrapper to $bin, for the runtime $real.
write_runtime() {
    # The shell's process becomes dockerd.
    read -r main _ </proc/self/stat
    {
        printf '#!/bin/sh\nbin=%s real=%s main=%s states=%s\n' "$bin" "$real" "$main" "${own:+$own/builders}"
        cat <<'END'
# insert: runc.sh
END
    } >"$bin/runc"
    chmod 755 "$bin/runc"
}

# Writes the configuration for builders without one. Each state is collected to half of the budget; older versions have
# another name for the limit.
write_config() {
    half=$((budget * 500000))
    [ -z "$own" ] || [ "$half" -eq 0 ] ||
        printf '[worker.oci]\ngc = true\ngckeepstorage = %s\nmaxUsedSpace = %s\n' "$half" "$half"
    printf '%s' "$builders"
}

# Makes room for a `runc` before the real one, for all that is started from here on.
find_runtime() {
    real=$(command -v runc) && bin=$(mktemp -d /tmp/slipway.XXXXXX || mktemp -d /run/slipway.XXXXXX) || return
    # BuildKit in dockerd does without the wrapper: it runs no builders.
    export PATH="$bin:$PATH" DOCKER_BUILDKIT_RUNC_COMMAND="${DOCKER_BUILDKIT_RUNC_COMMAND:-$real}"
}

add_builders() {
    [ -n "$bin" ] && mkdir "$bin/locks" "$bin/held" "$bin/starts" && write_config >"$bin/buildkitd.toml" &&
        write_runtime && [ "$("$bin/runc" --version 2>&1)" = "$("$real" --version 2>&1)" ] && return
    log 'the runtime wrapper does not run here: the builders of jobs stay cold'
    [ -z "$bin" ] || rm -f "$bin/runc"
}
