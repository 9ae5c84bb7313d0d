#!/usr/bin/env bash
# Environment, install, lint, types, tests. Arguments go to pytest.
source "$(dirname "${BASH_SOURCE[0]}")/_setup.sh"
setup "[dev]"
"$PY" -m ruff check .
"$PY" -m ruff format --check .
"$PY" -m mypy
# Test files are spread over the cores, in their order: most that take long come early, and sorted by their number of
# tests they would come last. More than four processes would want more memory than they save time.
"$PY" -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder "$@"
echo "Environment: $VENV"
