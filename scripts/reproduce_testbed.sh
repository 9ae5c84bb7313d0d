#!/usr/bin/env bash
# The reproduction gate: the testbed's loop and its controls from nothing, numbers against recorded ones, and the loop's
# runs published to a Hub-protocol server on loopback and loaded back where mmpref is not installed.
source "$(dirname "${BASH_SOURCE[0]}")/_setup.sh"
setup "[dev]"
OUT="${1:-$(mktemp -d)/testbed}"
mkdir -p "$(dirname "$OUT")"
# The model is small: several processes of one thread end sooner than one process of several.
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"

loop() {
  "$PY" -m mmpref reproduce testbed --output "$OUT"
  "$PY" scripts/check_testbed.py "$OUT"
  # A second environment that sees the same libraries but not mmpref: the path file that makes it importable is not
  # read from a folder that is itself named by a path file.
  local plain
  plain="$(mktemp -d)/plain"
  "$PY" -m venv --without-pip "$plain"
  "$PY" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
    > "$("$plain/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/libraries.pth"
  "$PY" scripts/check_published.py "$OUT" "$plain/bin/python"
}

# The loop beside the controls: its steps come one after the other. What it says is shown when it has ended.
set -m # it leads a group of its own, which ends with this script
loop > "$OUT.log" 2>&1 &
set +m
LOOP=$!
trap 'kill -- -"$LOOP" 2>/dev/null || true' EXIT
# BDHS and a control of each nature.
"$PY" -m mmpref reproduce controls --output "$OUT-controls" --jobs 2
"$PY" scripts/check_controls.py "$OUT-controls"

wait "$LOOP" && ended=0 || ended=$?
cat "$OUT.log"
echo "The gate took $SECONDS s." # no limit: how many others share the processors decides it
exit "$ended"
