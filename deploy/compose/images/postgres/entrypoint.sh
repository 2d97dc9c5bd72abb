#!/bin/sh
# Makes the cluster, its roles and databases once (/secrets: superuser's password, roles.sql), then serves.
set -eu
if [ ! -f "$PGDATA/PG_VERSION" ]; then
    rm -rf "$PGDATA.new"
    initdb -D "$PGDATA.new" -U postgres -E UTF8 --locale=C.UTF-8 --auth-local=trust --auth-host=scram-sha-256 --pwfile=/secrets/postgres >/dev/null
    echo "host all all all scram-sha-256" >>"$PGDATA.new/pg_hba.conf"
    # On the socket only: nobody finds it half made.
    pg_ctl -D "$PGDATA.new" -o "-c listen_addresses=''" -w -s start
    psql -X -q -v ON_ERROR_STOP=1 -U postgres -f /secrets/roles.sql
    pg_ctl -D "$PGDATA.new" -w -s stop
    mv "$PGDATA.new" "$PGDATA"
fi
exec postgres -D "$PGDATA" -c listen_addresses='*' -c max_connections=300 -c shared_buffers=256MB -c max_wal_size=2GB -c timezone=UTC
