"""Why rows are skipped: the codes that runs, reports and cards count by, and what each means (``mmpref list reasons``).

A plugin's own codes are its own: nothing is said of them here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from mmpref.log import counted, logger

REASONS = {
    # what a row holds
    "malformed": "a column holds something other than text or messages",
    "not-read": "a part of the row would be ignored, so the row is not used",
    "empty-prompt": "there is no prompt",
    "empty-answer": "there is no answer, or one without text",
    "turn-order": "user and assistant do not take turns",
    "prompts-differ": "the rejected answer is to another prompt",
    "no-image": "the row has no image",
    "image-placement": "an image is not in the first user turn, or placeholders and images differ in number",
    "missing-image": "the image's file is not there",
    "image-url": "the image is a web address, which is not fetched",
    "bad-image": "the image cannot be read, or is too large",
    "special-token": "a text contains a special token of the model",
    "chat-template": "the model's chat template refuses the row, or changes a text of it",
    # preference data
    "no-rejected": "there is no rejected answer",
    "no-second": "the method needs a second rejected answer, and there is none",
    "no-weight": "the method needs a weight of the row, and there is none",
    "bad-weight": "a weight is no number, out of range, or of no characters",
    "equal-answers": "chosen and rejected answers are the same",
    "equal-tokens": "chosen and rejected answers are the same tokens to the model",
    "context": "the answers continue the beginning of one, and the method needs or writes whole answers",
    "no-preference": "the set does not say which answer was preferred",
    "single-turn": "there is no second answer to prefer",
    "no-correction": "nobody has corrected the answer",
    "repeats-itself": "the answer repeats itself",
    "unrated": "an answer has no rating",
    "equal-ratings": "two answers are rated alike",
    "no-pair": "no pair can be made of the row",
    "not-better": "the later answer is rated no better than the first",
    # what a method made of it
    "empty-rejected": "the method wrote an empty rejected answer",
    "same-as-chosen": "the method's rejected answer is the chosen one",
    "cut-off": "the answer reached its limit of tokens before it ended",
    "no-partner": "no row of the block has what the method takes from another one",
    "one-answer": "the model gave no two different answers that can be told apart",
    "failed-request": "the server that the model is behind gave no answer",
    "no-verdict": "the annotator gave no answer that could be read",
    "tie": "no answer is better than another, or by too little",
    "no-objects": "nobody says what the images show, or nothing of it can be used",
    "one-sided": "no next sentence was written both with all its objects there and with a hallucinated one",
    "not-said": "the model no longer names the object that is hidden from it, or only behind another fault",
    "fault": "every answer that the model gave has a false claim",
    "failed-rewrite": "the annotator rewrote nothing",
    "refused": "the annotator refused to write an answer",
    "failed": "an unexpected error; the report has its text",
    # what the recipe leaves out
    "in-evaluation-set": "the image is in an evaluation set of --exclude-images-of",
}
"""Code -> meaning, by where it comes from."""
HINTS = {
    "refused": "Word the instruction otherwise (--prompt-file), or ask another annotator (--annotator).",
}
"""Code -> what to do, where somebody can do something whatever the row."""


def legend(codes: Iterable[str]) -> list[str]:
    """A line for each of these codes that is known: ``CODE: what it means``."""
    return [f"{code}: {REASONS[code]}." for code in codes if code in REASONS]


def listed(counts: Mapping[str, int]) -> str:
    """Rows by reason, in one line: ``3 no-image, 1 cut-off``; empty where there are none."""
    return ", ".join(f"{rows} {code}" for code, rows in counts.items())


def log_skips(pairs: int, counts: Mapping[str, int], first: Mapping[str, tuple[str, str]]) -> None:
    """Log how many pairs there are, and what became of the other rows.

    Args:
        counts: rows by reason.
        first: by reason, the first such row and what was wrong with it.
    """
    logger.info("%s%s.", counted(pairs, "pair"), f"; skipped rows: {listed(counts)}" if counts else "")
    for reason, (row, detail) in first.items():
        if detail:
            logger.info("The first that is skipped as %s: %s: %s", reason, row, detail)
        if reason in HINTS:
            logger.info("%s", HINTS[reason])
