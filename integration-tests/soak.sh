#!/usr/bin/env bash
# A soak on a stack of its own in .local/soak, from nothing, on ports 1000 above the demo's: integration-tests/soak.sh MINUTES [--seed N]
set -euo pipefail
cd "$(dirname "$0")/.."
export CARLIEN_PORT_BASE=$((${CARLIEN_PORT_BASE:-21000} + 1000))
stack=(.venv/bin/carlien-local --state .local/soak)
minutes=$1; shift
trap '"${stack[@]}" down >/dev/null 2>&1' EXIT
"${stack[@]}" down >/dev/null 2>&1 || true
"${stack[@]}" reset >/dev/null
"${stack[@]}" up
source .local/soak/env
PYTHONPATH=integration-tests .venv/bin/python -m operations.soak --minutes "$minutes" --report .local/soak-report.json "$@"
