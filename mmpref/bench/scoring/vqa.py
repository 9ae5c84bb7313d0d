"""VQA accuracy with the answer normalisation of EvalAI, as TextVQA's official scorer and LLaVA's have it.

Rule: facebookresearch/mmf `pythia/tasks/processors.py` (EvalAIAnswerProcessor, BSD-3) after GT-Vision-Lab/VQA
`PythonEvaluationTools/vqaEvaluation/vqaEval.py` (BSD-2), which the table of contractions is from. Kept, because they
are part of the number: the look-behind of the full-stop pattern is mistyped, so that every full stop that no digit
follows is deleted; at most 32 are, since a flag stands where the count belongs; all marks are deleted where the text
has one beside a space or a comma between digits, whichever mark it is asked about; contractions with a capital can
never match and are left out here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

ANSWERS = 10
_NUMBERS = {"none": "0"} | {
    word: str(value)
    for value, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
}
_ARTICLES = frozenset({"a", "an", "the"})
_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_COMMA = re.compile(r"(?<=\d),+(?=\d)")
_FULL_STOP = re.compile(r"\.(?!\d)")
_FULL_STOPS = 32
_PAIRS = """
aint=ain't arent=aren't cant=can't couldve=could've couldnt=couldn't couldn'tve=couldn't've couldnt've=couldn't've
didnt=didn't doesnt=doesn't dont=don't hadnt=hadn't hadnt've=hadn't've hadn'tve=hadn't've hasnt=hasn't havent=haven't
hed=he'd hed've=he'd've he'dve=he'd've hes=he's howd=how'd howll=how'll hows=how's isnt=isn't itd=it'd itd've=it'd've
it'dve=it'd've itll=it'll maam=ma'am mightnt=mightn't mightnt've=mightn't've mightn'tve=mightn't've mightve=might've
mustnt=mustn't mustve=must've neednt=needn't notve=not've oclock=o'clock oughtnt=oughtn't ow's'at='ow's'at
'ows'at='ow's'at 'ow'sat='ow's'at shant=shan't shed've=she'd've she'dve=she'd've shouldve=should've shouldnt=shouldn't
shouldnt've=shouldn't've shouldn'tve=shouldn't've somebody'd=somebodyd somebodyd've=somebody'd've
somebody'dve=somebody'd've somebodyll=somebody'll somebodys=somebody's someoned=someone'd someoned've=someone'd've
someone'dve=someone'd've someonell=someone'll someones=someone's somethingd=something'd somethingd've=something'd've
something'dve=something'd've somethingll=something'll thats=that's thered=there'd thered've=there'd've
there'dve=there'd've therere=there're theres=there's theyd=they'd theyd've=they'd've they'dve=they'd've theyll=they'll
theyre=they're theyve=they've twas='twas wasnt=wasn't wed've=we'd've we'dve=we'd've weve=we've werent=weren't
whatll=what'll whatre=what're whats=what's whatve=what've whens=when's whered=where'd wheres=where's whereve=where've
whod=who'd whod've=who'd've who'dve=who'd've wholl=who'll whos=who's whove=who've whyll=why'll whyre=why're whys=why's
wont=won't wouldve=would've wouldnt=wouldn't wouldnt've=wouldn't've wouldn'tve=wouldn't've yall=y'all yall'll=y'all'll
y'allll=y'all'll yall'd've=y'all'd've y'alld've=y'all'd've y'all'dve=y'all'd've youd=you'd youd've=you'd've
you'dve=you'd've youll=you'll youre=you're youve=you've
"""
_CONTRACTIONS = dict(pair.split("=") for pair in _PAIRS.split())


def without_marks(text: str) -> str:
    """Punctuation deleted or made a space, by what the whole text looks like."""
    digits = _COMMA.search(text) is not None
    cleaned = text
    for mark in _MARKS:
        beside_space = f"{mark} " in text or f" {mark}" in text
        cleaned = cleaned.replace(mark, "" if digits or beside_space else " ")
    return _FULL_STOP.sub("", cleaned, count=_FULL_STOPS)


def normalise(answer: str) -> str:
    """An answer as it is compared."""
    text = answer.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    text = without_marks(text.replace("\n", " ").replace("\t", " ").strip())
    words = [_NUMBERS.get(word, word) for word in text.lower().split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def accuracy(answer: str, references: Sequence[str]) -> float:
    """0 to 1: over the people asked, the mean of min(1, how many of the others said the same / 3).

    Raises:
        ValueError: not ten references.
    """
    if len(references) != ANSWERS:
        raise ValueError(f"{len(references)} answers of people; VQA accuracy is defined over {ANSWERS}.")
    answer, references = normalise(answer), [normalise(reference) for reference in references]
    same = references.count(answer)
    return sum(min(1.0, (same - (reference == answer)) / 3) for reference in references) / ANSWERS
