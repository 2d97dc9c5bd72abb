#!/usr/bin/env bash
# Builds the services' images: carlien-<service>:<version>. Usage: deploy/images/build.sh [service …]
#   BASE_IMAGE=…   what to build on; without it python:3.11-slim-bookworm where a registry can be reached, else a base made here
#   DOCKER=…       the client (default: docker, or /usr/bin/docker where docker has no builder of its own: engine.sh)
set -euo pipefail
cd "$(dirname "$0")/../.."
public=python:3.11-slim-bookworm
version=$(sed -n 's/^appVersion: "\(.*\)"/\1/p' charts/carlien/Chart.yaml)
revision=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
services=("$@")
[ $# -gt 0 ] || services=(telematics lien-registry pricing valuation)

. deploy/images/engine.sh

base=${BASE_IMAGE:-}
if [ -z "$base" ]; then
    if "$docker" image inspect carlien-base:bookworm >/dev/null 2>&1; then base=carlien-base:bookworm
    elif "$docker" image inspect $public >/dev/null 2>&1 || timeout 60 "$docker" pull --quiet $public >/dev/null 2>&1; then base=$public
    else DOCKER=$docker deploy/images/base.sh; base=carlien-base:bookworm; fi
fi
arguments=(--build-arg "BASE_IMAGE=$base" --build-arg "VERSION=$version" --build-arg "REVISION=$revision")
[ "$base" != carlien-base:bookworm ] || arguments+=(--build-arg PIP_CERT=/etc/ssl/certs/ca-certificates.crt)
for service in "${services[@]}"; do
    begin=$SECONDS
    DOCKER_BUILDKIT=1 "$docker" build --quiet --network host "${arguments[@]}" -t "carlien-$service:$version" -f "services/$service/Dockerfile" . >/dev/null
    size=$("$docker" image inspect --format '{{.Size}}' "carlien-$service:$version")
    printf '%-28s %5d MB  %3d s  on %s\n' "carlien-$service:$version" $((size / 1000000)) $((SECONDS - begin)) "$base"
done
