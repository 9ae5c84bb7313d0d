#!/usr/bin/env bash
# Environment, install, lint, types, tests. Arguments go to pytest.
source "$(dirname "${BASH_SOURCE[0]}")/_setup.sh"
setup "[dev]"
"$PY" -m ruff check .
"$PY" -m ruff format --check .
# Types beside the tests: they are checked in one process, and would keep the other cores waiting.
TYPES="$(mktemp)"
set -m # it leads a group of its own, which ends with this script
"$PY" -m mypy > "$TYPES" 2>&1 &
set +m
CHECKER=$!
trap 'kill -- -"$CHECKER" 2>/dev/null || true; rm -f "$TYPES"' EXIT
# Test files are spread over the cores, in their order: most that take long come early, and sorted by their number of
# tests they would come last. More than four processes would want more memory than they save time.
"$PY" -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder "$@" && tested=0 || tested=$?
wait "$CHECKER" && typed=0 || typed=$?
cat "$TYPES"
echo "Environment: $VENV"
exit "$((tested ? tested : typed))"
