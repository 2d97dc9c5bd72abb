# Sourced: puts a DSN into libpq's variables, so that no password is in a process's arguments.
decoded() { local text=${1//+/ }; printf '%b' "${text//%/\\x}"; }
use_dsn() {
    local pattern='^postgres(ql)?://([^:@/]+)(:([^@/]*))?@([^:/]+)(:([0-9]+))?/([^?]+)$'
    [[ $1 =~ $pattern ]] || { echo "The DSN should look like postgresql://USER@HOST:PORT/DATABASE, with a password" >&2; exit 2; }
    export PGUSER PGPASSWORD PGHOST=${BASH_REMATCH[5]} PGPORT=${BASH_REMATCH[7]:-5432} PGDATABASE=${BASH_REMATCH[8]}
    PGUSER=$(decoded "${BASH_REMATCH[2]}") PGPASSWORD=$(decoded "${BASH_REMATCH[4]}")
}
