#!/usr/bin/env bash
# The demo Space in a real browser (Chromium). Gradio wants an older Pillow and tomlkit than scripts/constraints.txt
# pins, so that it stands in a folder of its own before the environment's packages. Arguments go to pytest.
source "$(dirname "${BASH_SOURCE[0]}")/_setup.sh"
setup "[dev]"
FOLDER="$VENV/with-gradio"
if [ ! -d "$FOLDER/gradio" ]; then
  "$PY" -m pip install --quiet --disable-pip-version-check --no-deps --target "$FOLDER" \
    gradio==6.31.0 gradio-client==2.7.2 hf-gradio==0.4.1 groovy==0.1.2 safehttpx==0.2.0 brotli==1.2.1 orjson==3.13.0 \
    pydub==0.25.1 python-multipart==0.0.34 pytz==2026.6 semantic-version==2.10.0 pillow==12.3.0 tomlkit==0.14.0
fi
PYTHONPATH="$ROOT:$FOLDER" "$PY" -m pytest -m long tests/hub/test_space_page.py "$@"
