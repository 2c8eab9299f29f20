#!/bin/sh
# Print the path of a Chromium that runs; with --install, get one where there is none. Exit code 1: none.
set -eu
python=${PYTHON:-$(dirname "$0")/../.venv/bin/python}

find_one() {
    # Asking for the version sorts out stubs that only tell people to install a snap.
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        path=$(command -v "$name") && "$path" --version >/dev/null 2>&1 && echo "$path" && return
    done
    path=$("$python" -c 'from playwright.sync_api import sync_playwright
with sync_playwright() as p: print(p.chromium.executable_path)' 2>/dev/null) && [ -x "$path" ] && echo "$path"
}

if [ -n "${CHROMIUM:-}" ]; then
    "$CHROMIUM" --version >/dev/null 2>&1 && echo "$CHROMIUM" && exit
    echo "CHROMIUM is set to $CHROMIUM, which does not run" >&2
    exit 1
fi
find_one && exit
[ "${1:-}" = --install ] || exit 1

deps=
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    deps=--with-deps
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >&2 && apt-get install -y -qq chromium >&2 && find_one && exit
fi
"$python" -m playwright install $deps chromium >&2 && find_one
