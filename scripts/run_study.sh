#!/usr/bin/env bash
# Goes on with a study for some minutes: bash scripts/run_study.sh [NAME] [MINUTES]. It begins from what
# model_cards/NAME has, where that is there; what is measured stays in runs/reproduce-NAME, whose study.html is the page.
source "$(dirname "${BASH_SOURCE[0]}")/_setup.sh"
NAME="${1:-study}" MINUTES="${2:-300}" EXTRAS=""
if [ "$NAME" = sizes ]; then EXTRAS="[vision]"; fi # which Qwen2.5-VL's processor needs
setup "$EXTRAS"
OUT="runs/reproduce-$NAME"
if [ -d "model_cards/$NAME" ] && [ ! -d "$OUT" ]; then
  mkdir -p "$OUT"
  # What is measured of the study's bases goes on with them: another machine would train others of the same seeds.
  if [ -d model_cards/study/bases ]; then cp -r model_cards/study/bases "$OUT"; fi
  cp -r "model_cards/$NAME/." "$OUT"
fi
"$PY" -m mmpref reproduce "$NAME" --output "$OUT" --minutes "$MINUTES" --jobs "$(getconf _NPROCESSORS_ONLN)"
