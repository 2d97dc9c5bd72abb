#!/usr/bin/env bash
# Runs tests against a stack of their own: started here in .local/test on ports 500 above the demo's, ended afterwards.
# Usage: integration-tests/run.sh [pytest arguments]        KEEP=1 leaves the stack up for the next run.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARLIEN_PORT_BASE=$((${CARLIEN_PORT_BASE:-21000} + 500))
stack=(.venv/bin/carlien-local --state .local/test)

# The runner's closing line is the last one: what ends the stack says nothing.
[ -n "${KEEP:-}" ] || trap '"${stack[@]}" down >/dev/null 2>&1' EXIT
"${stack[@]}" up
source .local/test/env
# The stack is up, so a test that finds no database or broker has failed, not to be skipped.
export CARLIEN_TEST_STRICT=1
.venv/bin/python -m pytest "$@"
