#!/usr/bin/env bash
# Environment, install, lint, types, tests. Arguments go to pytest.
source "$(dirname "${BASH_SOURCE[0]}")/_setup.sh"
setup "[dev]"
"$PY" -m ruff check .
"$PY" -m ruff format --check .
"$PY" -m mypy
"$PY" -m pytest "$@"
echo "Environment: $VENV"
