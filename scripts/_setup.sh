# Sourced by the scripts beside it: makes (or reuses) a virtual environment with mmpref and the extras asked for.
# Uses $MMPREF_VENV, by default .venv in the repository. Leaves $PY, its Python, and $ROOT, the repository.
set -euo pipefail
ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$ROOT"
VENV="${MMPREF_VENV:-$ROOT/.venv}"
# Some containers tell Python to keep no bytecode. Every process would compile mmpref anew then, and every pytest rewrite
# the assertions of all tests: 0.6 and 6.3 seconds of a CPU.
unset PYTHONDONTWRITEBYTECODE

find_python() {
  for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11 python; do
    if [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 \
      && "$candidate" -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "Error: mmpref needs Python 3.11 or newer; set PYTHON to one." >&2
  exit 1
}

setup() { # $1: extras, such as [dev]
  if [ ! -x "$VENV/bin/python" ]; then
    "$(find_python)" -m venv "$VENV"
  fi
  PY="$VENV/bin/python"
  local stamp="$VENV/.mmpref-$(cat pyproject.toml scripts/constraints.txt | cksum | cut -d' ' -f1)$1"
  if [ ! -f "$stamp" ]; then
    echo "Installing into $VENV ..." >&2
    # torch first and pinned: any other order may pull a build for another machine. What is imported is compiled then:
    # pip would compile all modules, one after the other, which took most of its time.
    local install=("$PY" -m pip install --quiet --disable-pip-version-check --no-compile)
    "${install[@]}" "$(grep '^torch==' scripts/constraints.txt)"
    "${install[@]}" -c scripts/constraints.txt -e ".$1"
    touch "$stamp"
  fi
}
