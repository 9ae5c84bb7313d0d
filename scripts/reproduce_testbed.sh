#!/usr/bin/env bash
# The reproduction gate: the testbed's loop and its controls from nothing, numbers against recorded ones, then everything
# published to a Hub-protocol server on loopback and loaded back where mmpref is not installed; then the longest tests.
source "$(dirname "${BASH_SOURCE[0]}")/_setup.sh"
setup "[dev]"
OUT="${1:-$(mktemp -d)/testbed}"
"$PY" -m mmpref reproduce testbed --output "$OUT"
"$PY" scripts/check_testbed.py "$OUT"

# BDHS beside a control of each nature.
"$PY" -m mmpref reproduce controls --output "$OUT-controls" --jobs 2
"$PY" scripts/check_controls.py "$OUT-controls"

# A second environment that sees the same libraries but not mmpref: the path file that makes it importable is not
# read from a folder that is itself named by a path file.
PLAIN="$(mktemp -d)/plain"
"$PY" -m venv --without-pip "$PLAIN"
"$PY" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
  > "$("$PLAIN/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/libraries.pth"
"$PY" scripts/check_published.py "$OUT" "$PLAIN/bin/python"

# Tests that take minutes.
"$PY" -m pytest -n auto --maxprocesses 4 -m long
