#!/usr/bin/env bash
# Makes the image carlien-base:bookworm (Debian 12 with Python 3.11) from Debian's packages, for where no image registry is reachable.
# Takes 30 s as root. The machine's own CAs come along, so that pip works in builds where the network needs them.
set -euo pipefail
docker=${DOCKER:-docker}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

command -v mmdebstrap >/dev/null || { echo "mmdebstrap is needed: apt-get install mmdebstrap" >&2; exit 1; }
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
# The machine's own sources, whatever they are.
mapfile -t sources < <(apt-get indextargets --format 'deb $(REPO_URI) $(CODENAME) $(COMPONENT)' 'Identifier: Packages' | sort -u)
mmdebstrap --quiet --variant=minbase --include=ca-certificates,python3,python3-venv \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook='if ls /usr/local/share/ca-certificates/*.crt >/dev/null 2>&1; then
        cp /usr/local/share/ca-certificates/*.crt "$1/usr/local/share/ca-certificates/" && chroot "$1" update-ca-certificates >/dev/null; fi' \
    "$suite" "$folder/base.tar" "${sources[@]}"
"$docker" import --message "Debian $suite with Python 3.11" "$folder/base.tar" carlien-base:bookworm >/dev/null
"$docker" image inspect --format 'carlien-base:bookworm: {{.Size}} bytes' carlien-base:bookworm
