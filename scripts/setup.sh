#!/bin/sh
# setup.sh REQUIREMENTS: make .venv where it is missing or broken, and install REQUIREMENTS where they changed.
set -eu
cd "$(dirname "$0")/.."
wanted=$1
python=${PYTHON:-python3}
ours=.venv/bin/python
stamp=.venv/installed-$wanted

stop() {
    echo "hfcviz: $*" >&2
    exit 1
}

# Outside a virtual environment prefix and base_prefix agree: then pip would write into the system.
works='import sys, pip; sys.exit(sys.version_info < (3, 11) or sys.prefix == sys.base_prefix)'
if ! $ours -c "$works" 2>/dev/null; then
    command -v "$python" >/dev/null || stop "Python 3.11 or newer is needed and '$python' was not found; install it, or name one: make PYTHON=/path/to/python run"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        stop "Python 3.11 or newer is needed and '$python' is $("$python" -V 2>&1); name a newer one: make PYTHON=python3.12 run"
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
        stop "'$python' cannot make virtual environments; on Debian and Ubuntu run 'apt-get install -y python3-venv' as root, then this again."
    echo "hfcviz: making .venv with $("$python" -V 2>&1)"
    rm -rf .venv
    "$python" -m venv .venv || stop "'$python -m venv .venv' failed; its message is above."
fi

# The contents decide, not the times: a checkout changes times.
key=$(cat requirements.txt "$wanted" | cksum)
if [ "$(cat "$stamp" 2>/dev/null)" != "$key" ]; then
    echo "hfcviz: installing $wanted (the first time takes minutes)"
    $ours -m pip install --quiet --disable-pip-version-check -r "$wanted" ||
        stop "pip could not install $wanted; its message is above. Once mended, the same command goes on from here."
    echo "$key" >"$stamp"
fi
