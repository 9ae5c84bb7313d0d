#!/usr/bin/env bash
# `scripts/gpu_check.py` on a machine without a network: installs what scripts/gpu_wheels.sh downloaded into wheels/
# (or $MMPREF_WHEELS) beside what is there, into a folder that is thrown away. Arguments go to the script:
# bash scripts/gpu_check.sh --output gpu_check.json
set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
WHEELS="${MMPREF_WHEELS:-$ROOT/wheels}"
PY="${PYTHON:-python3}"
SITE="$(mktemp -d)"
trap 'rm -rf "$SITE"' EXIT
"$PY" -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-compile --no-cache-dir \
  --target "$SITE" "$WHEELS"/*.whl
PYTHONPATH="$ROOT:$SITE" PYTHONUNBUFFERED=1 "$PY" "$ROOT/scripts/gpu_check.py" "$@"
