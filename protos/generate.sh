#!/usr/bin/env bash
# Writes the generated Python package anew from the protos. Usage: protos/generate.sh [OUTPUT_FOLDER]
set -euo pipefail
cd "$(dirname "$0")"
bin=../.venv/bin
out=${1:-gen}
rm -rf "$out/carlien"
mkdir -p "$out"
PATH="$bin:$PATH" "$bin/python" -m grpc_tools.protoc -I . -I third_party \
    --python_out="$out" --grpc_python_out="$out" --mypy_out="$out" --mypy_grpc_out="$out" \
    $(find carlien -name '*.proto' | sort)
touch "$out/carlien/py.typed"
