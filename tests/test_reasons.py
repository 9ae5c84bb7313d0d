"""Every code that a row is skipped by has a meaning."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import mmpref
from mmpref.reasons import REASONS, legend

PACKAGE = Path(mmpref.__file__).parent
MAKERS = {"Skip": 1, "Fault": 0, "_add": 0, "Unusable": 0}
"""What makes a reason, and which of its arguments it is."""
VARIABLES = {"reason", "kind", "code"}
"""Names that a code has while it is handed on."""
CODE = re.compile(r"[a-z]+(-[a-z]+)*")


def codes(file: Path) -> set[str]:
    """Codes that a module gives to skips: literals, and constants and attributes of its own."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    assigned = [
        (target.id, node.value.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]
    texts, found = dict(assigned), {text for name, text in assigned if name == "reason"}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if name not in MAKERS or len(node.args) <= MAKERS[name]:
            continue
        found |= {text for part in values(node.args[MAKERS[name]]) if (text := texts.get(part, part))}
    return {code for code in found if CODE.fullmatch(code)}


def values(node: ast.expr) -> set[str]:
    """Texts, and names of constants, that an expression may come to."""
    match node:
        case ast.Constant(str(text)):
            return {text}
        case ast.Name(name):
            return {name}
        case ast.IfExp(_, body, other):
            return values(body) | values(other)
        case ast.Call(ast.Name("getattr"), [_, _, default]):
            return values(default)
    return set()


def test_every_code_has_a_meaning_and_every_meaning_a_code() -> None:
    used = set().union(*(codes(file) for file in PACKAGE.rglob("*.py")))
    constants = {"same-as-chosen", "cut-off"}  # made in other modules than they are named in
    assert {"malformed", "tie", "missing-image", "in-evaluation-set"} <= used
    assert used - VARIABLES - REASONS.keys() == set()
    assert REASONS.keys() - used - constants == set()


def test_a_legend_has_the_codes_that_were_met() -> None:
    assert legend({"tie": 3, "of-a-plugin": 1}) == ["tie: no answer is better than another, or by too little."]


@pytest.mark.parametrize("meaning", REASONS.values())
def test_a_meaning_is_short(meaning: str) -> None:
    assert len(meaning) < 90
    assert not meaning.endswith(".")
