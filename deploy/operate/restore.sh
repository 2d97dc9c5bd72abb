#!/usr/bin/env bash
# Restores a backup into an empty database: deploy/operate/restore.sh FILE DSN
# All of it or nothing (one transaction). Refuses a file that isn't what backup.sh wrote, and a database that isn't empty.
set -euo pipefail
[ $# -eq 2 ] || { echo "usage: $0 FILE DSN" >&2; exit 2; }
source "$(dirname "${BASH_SOURCE[0]}")/connection.sh"
file=$1
(cd "$(dirname "$file")" && sha256sum --check --quiet "$(basename "$file").sha256") || { echo "$file isn't what was backed up." >&2; exit 1; }
use_dsn "$2"
tables=$(psql -XAtc "SELECT count(*) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')")
[ "$tables" = 0 ] || { echo "The database isn't empty ($tables tables). Restore into a new one." >&2; exit 1; }
pg_restore --dbname="$PGDATABASE" --no-owner --no-privileges --single-transaction --exit-on-error "$file"
