#!/usr/bin/env bash
# Download what a bare GPU machine lacks into wheels/, for `scripts/gpu_check.sh` to install there without a network.
# Such a machine (Python 3.12, Linux x86-64, CUDA 13) has torch, triton, accelerate, sentence-transformers, pandas,
# pyarrow, matplotlib and what they need (tests/test_gpu_check.py has the list). Versions are those of
# scripts/constraints.txt; transformers and its Hub client come along, since older ones lack what mmpref uses. Of
# bitsandbytes only the kernels for $CUDA are kept. mmpref itself comes for its entry points.
set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$ROOT"
WHEELS="${1:-wheels}"
PY="${PYTHON:-python3}"
CUDA="${CUDA:-13}"
LIMIT_MIB=60
NAMES=(transformers huggingface_hub click peft trl datasets dill multiprocess evaluate sentencex inflect
  jaraco.functools more-itertools typeguard num2words openai httpx2 httpcore2 truststore jiter sniffio pydantic
  pydantic_core annotated-types typing-inspection bitsandbytes)

mkdir -p "$WHEELS"
pins=()
for name in "${NAMES[@]}"; do
  pins+=("$(grep -i "^${name//-/[-_]}==" scripts/constraints.txt)")
done
"$PY" -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: --python-version 3.12 \
  --implementation cp --platform manylinux_2_28_x86_64 --platform manylinux_2_24_x86_64 \
  --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 --dest "$WHEELS" "${pins[@]}"
"$PY" - "$WHEELS" "$CUDA" <<'EOF_PY'
import re, sys, zipfile
from pathlib import Path

folder, cuda = Path(sys.argv[1]), sys.argv[2]
[wheel] = folder.glob("bitsandbytes-*.whl")
with zipfile.ZipFile(wheel) as whole:
    files = [(item, whole.read(item)) for item in whole.infolist()]
kernels = re.compile(rf"libbitsandbytes_(cuda(?!{cuda})|rocm|xpu)")
with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as kept:
    for item, content in files:
        if not kernels.search(item.filename):
            kept.writestr(item, content)
EOF_PY
"$PY" -m pip wheel --quiet --disable-pip-version-check --no-deps --no-build-isolation --wheel-dir "$WHEELS" .
size=$(du -sm "$WHEELS" | cut -f1)
echo "$WHEELS: $(ls "$WHEELS" | wc -l) wheels, $size MiB" >&2
if [ "$size" -ge "$LIMIT_MIB" ]; then
  echo "Error: $WHEELS takes $size MiB, and must stay under $LIMIT_MIB." >&2
  exit 1
fi
