#!/usr/bin/env bash
# Backs a service's database up while it runs: deploy/operate/backup.sh DSN FILE
# One consistent snapshot (pg_dump's). Beside FILE comes FILE.sha256.
set -euo pipefail
[ $# -eq 2 ] || { echo "usage: $0 DSN FILE" >&2; exit 2; }
source "$(dirname "${BASH_SOURCE[0]}")/connection.sh"
use_dsn "$1"
file=$2
umask 077
pg_dump --format=custom --no-owner --no-privileges --lock-wait-timeout=10s --file="$file.part"
mv "$file.part" "$file"
(cd "$(dirname "$file")" && sha256sum "$(basename "$file")") >"$file.sha256"
