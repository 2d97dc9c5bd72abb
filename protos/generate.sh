#!/usr/bin/env bash
# Writes the generated Python package anew from the protos. Usage: protos/generate.sh [OUTPUT_FOLDER]
# It is made beside the old one and then put in its place, so that who imports it meanwhile never finds it half there.
set -euo pipefail
cd "$(dirname "$0")"
bin=../.venv/bin
out=${1:-gen}
mkdir -p "$out"
exec 9>"$out/.lock"
flock 9
new=$(mktemp -d "$out/.new.XXXXXX")
trap 'rm -rf "$new" "$out/.lock"' EXIT
PATH="$bin:$PATH" "$bin/python" -m grpc_tools.protoc -I . -I third_party \
    --python_out="$new" --grpc_python_out="$new" --mypy_out="quiet:$new" --mypy_grpc_out="quiet:$new" \
    $(find carlien -name '*.proto' | sort)
touch "$new/carlien/py.typed"
if [[ -d $out/carlien ]]; then mv "$out/carlien" "$new/old"; fi
mv "$new/carlien" "$out/carlien"
