#!/usr/bin/env bash
# Makes .venv hold exactly what requirements/dev.txt locks. `make setup` and every other target call it;
# when nothing has changed since the last time it ends within milliseconds and prints nothing with --quiet.
#
#   PYTHON=/some/python3.12 make setup     chooses the interpreter for a new .venv
#
# It needs Python 3.11 or 3.12 and a package index that pip can reach; it writes nothing outside the project
# but the package caches of uv and pip.
set -euo pipefail
cd "$(dirname "$0")/.."

VENV=.venv
STAMP=$VENV/.setup-stamp
LOCK=requirements/dev.txt
TOOLS=requirements/tools.txt

say() { printf '%s\n' "$*"; }
fail() { printf '\nmake setup: %s\n' "$1" >&2; shift; printf '  %s\n' "$@" >&2; exit 1; }

right_version() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' >/dev/null 2>&1; }

# The folder is part of the stamp: scripts in a virtual environment that was moved name the old place.
wanted_stamp() { sha256sum "$LOCK" "$TOOLS"; pwd -P; }

find_python() {
    local name
    for name in ${PYTHON:+"$PYTHON"} python3.11 python3.12 python3 python; do
        if command -v "$name" >/dev/null 2>&1 && right_version "$name"; then
            "$name" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    fail "Python 3.11 or 3.12 is needed, and none was found." \
        "Seen on PATH: $(command -v python3 >/dev/null 2>&1 && python3 --version 2>&1 || echo 'no python3')" \
        "On Debian and Ubuntu: apt-get install python3.11 python3.11-venv (or python3.12 python3.12-venv)." \
        "If it is somewhere else, say where: PYTHON=/some/where/bin/python3.11 make setup"
}

# Prints the uv to use: the one on PATH, or the pinned one in .venv, or nothing.
find_uv() {
    local name
    for name in uv "$VENV/bin/uv"; do
        if "$name" --version >/dev/null 2>&1; then say "$name"; return; fi
    done
}

make_venv() {
    local python uv
    python=$(find_python)
    say "Making $VENV with $("$python" --version)"
    rm -rf "$VENV"
    uv=$(find_uv)
    if [ -n "$uv" ]; then
        "$uv" venv --quiet --python "$python" "$VENV"
    elif ! "$python" -m venv "$VENV"; then
        rm -rf "$VENV"
        fail "$python cannot make a virtual environment." \
            "Debian and Ubuntu keep that part in a package of its own: apt-get install python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv" \
            "or install uv, which does not need it."
    fi
}

install_uv() {
    [ -x "$VENV/bin/pip" ] || "$VENV/bin/python" -m ensurepip >/dev/null 2>&1 ||
        fail "there is neither uv nor pip in $VENV." "Run 'make clean-venv' and try again, or install uv."
    say "Installing uv, as pinned in $TOOLS"
    "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --only-binary :all: \
        --require-hashes -r "$TOOLS"
}

if [ -f "$STAMP" ] && [ "$(cat "$STAMP")" = "$(wanted_stamp)" ] && right_version "$VENV/bin/python"; then
    [ "${1:-}" = "--quiet" ] || say "$VENV is up to date with $LOCK"
    exit 0
fi

right_version "$VENV/bin/python" || make_venv
uv=$(find_uv)
if [ -z "$uv" ]; then install_uv; uv=$VENV/bin/uv; fi

reinstall=""
# A virtual environment that was moved or copied: its scripts name the old place, so all are written again.
if [ -f "$STAMP" ] && [ "$(tail -n 1 "$STAMP")" != "$(pwd -P)" ]; then reinstall=--reinstall; fi

say "Installing $(grep -c '==' "$LOCK") locked packages into $VENV with $("$uv" --version)"
"$uv" pip sync --python "$VENV/bin/python" --require-hashes $reinstall "$LOCK" ||
    fail "the locked packages could not be installed." \
        "Above is what uv said. The first time needs about 7 GB of disk and a package index that pip can reach too."
wanted_stamp > "$STAMP"
say "$VENV is ready: $("$VENV/bin/python" --version), $LOCK"
