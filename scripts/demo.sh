#!/usr/bin/env bash
# The whole loop on the testbed: environment, install, preference dataset, adapter, evaluation, one HTML report.
source "$(dirname "${BASH_SOURCE[0]}")/_setup.sh"
setup ""
"$PY" -m mmpref reproduce testbed --output "${1:-runs/testbed}"
