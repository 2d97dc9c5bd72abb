#!/usr/bin/env bash
# Writes the hashed requirement files. Usage: requirements/lock.sh [--upgrade]
set -euo pipefail
cd "$(dirname "$0")/.."
members=(carlien-common carlien-lien-registry carlien-local carlien-pricing carlien-protos carlien-telematics carlien-valuation)
options=(--universal --python-version 3.11 --generate-hashes --no-annotate --no-header --quiet)
for member in "${members[@]}"; do options+=(--no-emit-package "$member"); done

.venv/bin/uv pip compile "${options[@]}" "$@" pyproject.toml --group dev --output-file requirements/all.txt
for service in valuation lien-registry telematics pricing; do
    .venv/bin/uv pip compile "${options[@]}" --constraint requirements/all.txt \
        "services/$service/pyproject.toml" --output-file "requirements/$service.txt"
done
.venv/bin/uv pip compile "${options[@]}" --constraint requirements/all.txt requirements/build.in --output-file requirements/build.txt
