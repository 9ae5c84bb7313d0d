"""What the tests of own pairs share: settings that are soon done, and a block's worker."""

from __future__ import annotations

from typing import Any

from mmpref.data.builder import BUILDERS, Context
from mmpref.testbed import language
from mmpref.vlm.policy import Policy

MODEL, EMBEDDER = "pkg:mmpref.testbed/model", "pkg:mmpref.testbed/embedder"
SYNONYMS = "pkg:mmpref.testbed/synonyms.txt"
WRITTEN: dict[str, Any] = {"similarity_model": EMBEDDER, "max_answer_tokens": 48}
SETTINGS: dict[str, dict[str, Any]] = {
    "bdhs-own": {**WRITTEN, "samples": 2, "iterations": 2, "rho_th": 0.9, "max_tail_tokens": 24},
    "opa": WRITTEN,
    "chair-rank": {**WRITTEN, "samples": 3, "temperature": 1.5, "synonyms": SYNONYMS},
    "self-correct": {**WRITTEN, "samples": 2, "max_sentence_tokens": 24},
    "iris": {**WRITTEN, "samples": 2, "temperature": 1.5, "adapter": "given by a fixture"},
}
ROWS = 12


def worker_of(policy: Policy, method: str, **settings: Any) -> Any:
    builder = BUILDERS.get(method)
    context = Context(lambda: policy, policy.ref, 0, 0, "testbed-oracle" if builder.needs_annotator else None)
    return builder.worker(context, builder.config()(**{**SETTINGS[method], **settings}))


CAPTIONS = language.CAPTION_PROMPTS
