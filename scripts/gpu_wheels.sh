#!/usr/bin/env bash
# Download what a bare GPU machine lacks into wheels/, for `scripts/gpu_check.sh` to install there without a network.
# Such a machine (Python 3.12, Linux x86-64) has torch, transformers, peft, accelerate, sentence-transformers and their
# kin already. Versions are those of scripts/constraints.txt. mmpref itself comes as a wheel for its entry points.
set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$ROOT"
WHEELS="${1:-wheels}"
PY="${PYTHON:-python3}"
LIMIT_MIB=60
NAMES=(trl datasets dill multiprocess evaluate sentencex inflect jaraco.functools more-itertools typeguard num2words
  openai httpx2 httpcore2 truststore jiter sniffio pydantic pydantic_core annotated-types typing-inspection bitsandbytes)

mkdir -p "$WHEELS"
pins=()
for name in "${NAMES[@]}"; do
  pins+=("$(grep -i "^${name//-/[-_]}==" scripts/constraints.txt)")
done
"$PY" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.12 \
  --implementation cp --platform manylinux_2_28_x86_64 --platform manylinux_2_24_x86_64 \
  --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 --dest "$WHEELS" "${pins[@]}"
"$PY" -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir "$WHEELS" .
size=$(du -sm "$WHEELS" | cut -f1)
echo "$WHEELS: $(ls "$WHEELS" | wc -l) wheels, $size MiB" >&2
if [ "$size" -ge "$LIMIT_MIB" ]; then
  echo "Error: $WHEELS takes $size MiB, and must stay under $LIMIT_MIB." >&2
  exit 1
fi
