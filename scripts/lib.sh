# Shared by the scripts in this folder: places, messages, steps with a log. Sourced, never run.
# shellcheck shell=bash disable=SC2034 # the scripts that source this use its names

ROOT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)
VENV=${PTRAIN_VENV:-$ROOT/.venv}
case $VENV in /*) ;; *) VENV=$PWD/$VENV ;; esac
: "${HOME:=$(echo ~)}" # unset in some containers and services; the tilde then comes from the system's list of users
export HOME
TORCH=2.13.0 # the lock, the Horovod recipe and the tests go with this one
EX_USAGE=2 # the person's input is at fault
EX_UNAVAILABLE=69 # sysexits.h: something that is needed is not on this machine

say() { printf '%s\n' "$*" >&2; }

fail() { # fail CODE MESSAGE
    say "${0##*/}: $2"
    exit "$1"
}

usage_error() { fail "$EX_USAGE" "$1; '${0##*/} --help' lists the options"; }

help_of() { # the comment at the top of a script is its help text
    sed -n '2,/^[^#]/{/^#/{s/^# \{0,1\}//;p}}' "$1"
}

first_writable() { # first_writable FOLDER…: makes and prints the first folder that can be written to
    local folder
    for folder in "$@"; do
        if mkdir -p -- "$folder" 2>/dev/null && [ -w "$folder" ]; then
            printf '%s\n' "$folder"
            return
        fi
    done
    fail 1 "none of these folders can be written to: $*; set PTRAIN_CACHE to one that can"
}

cache_root() {
    if [ -n "${PTRAIN_CACHE:-}" ]; then
        first_writable "$PTRAIN_CACHE"
    else
        first_writable "${XDG_CACHE_HOME:-$HOME/.cache}/ptrain" "$ROOT/.cache"
    fi
}

# A job in its own process group, so that Ctrl-C can end all of it: bash lets background jobs ignore the signal otherwise.
JOB_GROUPS=()
end_jobs() {
    local group
    for group in "${JOB_GROUPS[@]}"; do kill -TERM -- "-$group" 2>/dev/null; done
    JOB_GROUPS=()
    wait
}
trap 'end_jobs; say "${0##*/}: interrupted; run it again to go on"; exit 130' INT
trap 'end_jobs; exit 143' TERM HUP

grouped() { # grouped COMMAND…: runs it as a job that end_jobs can end
    local status
    set -m
    "$@" </dev/null &
    JOB_GROUPS=($!)
    set +m
    wait "${JOB_GROUPS[0]}"
    status=$?
    JOB_GROUPS=()
    return "$status"
}

ticker() { # ticker SECONDS LABEL LOG: a sign of life while a job runs; one line that is written over on a terminal
    local start=$SECONDS line columns recent
    while sleep "$1" && kill -0 $$ 2>/dev/null; do
        recent=$(tail -c 65536 -- "$3" 2>/dev/null | tr '\r\0' '\n\n')
        # What make says of its progress, among pages of warnings.
        line=$(grep -oE '^ *\[ *[0-9]+%\] [A-Z].*' <<<"$recent" | tail -n 1)
        if [ -t 2 ]; then
            [ -n "$line" ] || line=$(grep -v '^[[:space:]]*$' <<<"$recent" | tail -n 1)
            columns=$(tput cols 2>/dev/null || echo 80)
            line="  $2: $((SECONDS - start)) s  ${line#"${line%%[![:space:]]*}"}"
            printf '\r\033[K%s' "${line:0:columns-1}" >&2
        else
            line=$(grep -oE '[0-9]+%' <<<"$line" | head -n 1)
            say "  $2: $((SECONDS - start)) s${line:+, $line done}"
        fi
    done
}

logged() { # logged LABEL LOG COMMAND…: runs COMMAND with its output in LOG; shows the log's end when it fails
    local label=$1 log=$2 from errors job tick status every=20
    shift 2
    [ -t 2 ] && every=1
    printf '\n$%s\n' "$(printf ' %q' "$@")" >>"$log"
    from=$(wc -l <"$log")
    set -m
    "$@" >>"$log" 2>&1 </dev/null &
    job=$!
    ticker "$every" "$label" "$log" 9>&- &
    tick=$!
    set +m
    JOB_GROUPS=("$job" "$tick")
    wait "$job"
    status=$?
    JOB_GROUPS=()
    kill -TERM -- "-$tick" 2>/dev/null
    wait "$tick" 2>/dev/null
    [ -t 2 ] && printf '\r\033[K' >&2
    if [ "$status" -ne 0 ]; then
        say "  $label failed (exit code $status). From $log:"
        errors=$(tail -n "+$from" -- "$log" | grep -m 4 -A 3 -E 'CMake Error|fatal error:| error: |No space left')
        printf '%s\n' "${errors:-$(tail -n 15 -- "$log")}" | sed 's/^/  | /' >&2
    fi
    return "$status"
}

has_horovod() { compgen -G "$VENV/lib/python*/site-packages/horovod/torch/mpi_lib_v2*.so" >/dev/null; }
