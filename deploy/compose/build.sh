#!/usr/bin/env bash
# Builds the images of what the services need: carlien-postgres, carlien-kafka, carlien-fabric, carlien-chaincode.
# Usage: deploy/compose/build.sh [name …]. BASE_IMAGE as in deploy/images/build.sh; jars and Fabric's binaries are those that `make setup` cached.
set -euo pipefail
cd "$(dirname "$0")/../.."
. deploy/images/engine.sh
cache=${CARLIEN_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/carlien}
digest() { cat "$@" | sha256sum | cut -c1-12; }
base=${BASE_IMAGE:-}
if [ -z "$base" ]; then
    if "$docker" image inspect carlien-base:bookworm >/dev/null 2>&1; then base=carlien-base:bookworm; else base=debian:bookworm-slim; fi
fi
context=$(mktemp -d)
trap 'rm -rf "$context"' EXIT
cp -r deploy/compose/images/. "$context"
cp -r "$cache/kafka-$(digest deploy/local/kafka/pom.xml)/libs" "$context/kafka/libs"
mkdir "$context/fabric/bin" "$context/fabric/builders"
cp "$cache/fabric-$(digest deploy/fabric/tools/go.sum)"/bin/{peer,orderer} "$context/fabric/bin/"
cp -r deploy/fabric/builders/ccaas "$context/fabric/builders/"
(cd services/lien-registry/chaincode && CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o "$context/chaincode/mortgage-asset" .)
chmod +x "$context"/*/entrypoint.sh
names=("$@")
[ $# -gt 0 ] || names=(postgres kafka fabric chaincode)
for name in "${names[@]}"; do
    begin=$SECONDS
    arguments=(--network host)
    [ "$name" = chaincode ] || arguments+=(--build-arg "BASE_IMAGE=$base")
    DOCKER_BUILDKIT=1 "$docker" build --quiet "${arguments[@]}" -t "carlien-$name:latest" "$context/$name" >/dev/null
    size=$("$docker" image inspect --format '{{.Size}}' "carlien-$name:latest")
    printf '%-28s %5d MB  %3d s\n' "carlien-$name:latest" $((size / 1000000)) $((SECONDS - begin))
done
