#!/usr/bin/env bash
# Makes the environment of the hfc worker, once per requirements, and prints its Python. It can't share the service's: hfc needs
# protobuf 4 in pure Python. Usage: setup.sh [FOLDER]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
digest=$(sha256sum "$here/requirements.txt" | cut -c1-12)
home=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/carlien/hfc-$digest}
if [[ ! -e $home/.done ]]; then
    python3 -m venv --clear "$home" >&2
    "$home/bin/pip" install --quiet --disable-pip-version-check --no-deps --require-hashes -r "$here/requirements.txt" >&2
    touch "$home/.done"
fi
echo "$home/bin/python"
