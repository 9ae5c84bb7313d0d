"""MME's reading of yes and no, and its categories (`eval_tool/calculation.py` of the MME release).

The answer in lower case means yes if its first four characters contain "yes", else no if they contain "no", else
nothing. So "know" and "none" are a no, and "well, yes" is nothing.
"""

from __future__ import annotations

PERCEPTION = ("existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark", "artwork", "OCR")
COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")
_READ = 4


def parse(answer: str) -> str:
    """``yes``, ``no`` or ``other``."""
    begin = answer.lower()[:_READ]
    return "yes" if "yes" in begin else "no" if "no" in begin else "other"
