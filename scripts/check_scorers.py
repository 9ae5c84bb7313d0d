"""Our readings of answers against the official scorers: python scripts/check_scorers.py FOLDER [--strings N].

FOLDER holds a clone of each repository under its name (``FOLDER/LLaVA``, ...); nothing of them is part of mmpref. Their
rules are run as they are, on N random and adversarial strings each (1,000), and every string must be read alike:

* POPE: haotian-liu/LLaVA `llava/eval/eval_pope.py`, the same rule as RUCAIBox/POPE's
* VQA accuracy (TextVQA): haotian-liu/LLaVA `llava/eval/m4c_evaluator.py`
* GQA: haotian-liu/LLaVA `scripts/convert_gqa_for_eval.py`, then equality
* LLaVA-Bench's two scores: haotian-liu/LLaVA `llava/eval/eval_gpt_review_bench.py`, where it reads numbers from 1 to 10
  that are written as digits (Python's `float`, which it uses, takes `1e1` and `1_0` too)
* MME: the release's `eval_tool/calculation.py`, as in zjunlp/Deco
* MMStar: MMStar-Benchmark/MMStar `eval/vlmeval/evaluate/mmstar.py`
* yes and no of HallusionBench: open-compass/VLMEvalKit `vlmeval/dataset/utils/yorn.py`
* Object HalBench's lists: RLHF-V/RLAIF-V `eval/eval_gpt_obj_halbench.py`, where it reads one
* DASH-B: YanNeu/DASH-B `src/eval_utils.py`
* NaturalBench: Baiqi-Li/NaturalBench `naturalbench_vqa.py`, of either type of question
* MMVP's letters: EvolvingLMMs-Lab/lmms-eval `lmms_eval/tasks/mmvp/utils.py`
* RefoMB's verdict: RLHF-V/RLAIF-V `eval/eval_RefoMB_p0.py`, where it reads one
* MMHal-Bench's rating: llava-rlhf/LLaVA-RLHF `Eval/eval_gpt_mmhal.py`, restated here (the file is one script), on
  replies of the form that its prompt asks for; what it makes of others by its substrings (`rating: 10` is a 1 there) is
  not kept: `mmpref.judges.verdicts` says what is read

Those of CHAIR (`pattern`), AMBER's captions and Object HalBench's tagging (spaCy's models) cannot be installed by pip;
the rest of MM-Vet and HallusionBench is a judge's.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import io
import json
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from mmpref.bench.benchmarks import dash_b, mmvp, naturalbench, refomb
from mmpref.bench.scoring import gqa, mme, mmstar, pope, ratings, vqa, yes_no

PIECES = (
    "yes",
    "no",
    "Yes",
    "No",
    "NO",
    "YES",
    "not",
    "Not",
    "nothing",
    "know",
    "none",
    "y",
    "n",
    "it",
    "a",
    "an",
    "The",
    "A",
    "b",
    "C",
    "(d",
    "(A)",
    "option ",
    "Option B",
    "the answer is ",
    "The answer is c",
    "answer",
    ".",
    "..",
    ",",
    "?",
    "!",
    ";",
    ":",
    "-",
    "_",
    "'s",
    "'",
    '"',
    "/",
    "\\",
    "`",
    "@",
    " ",
    "  ",
    "\n",
    "\t",
    "\u00a0",
    "3",
    "3.5",
    "1,000",
    "1,0,0",
    ".5",
    "5.",
    "$3.50",
    "ten",
    "two",
    "zero",
    "dont",
    "don't",
    "couldnt've",
    "youre",
    "Whats",
    "red",
    "dog",
    "coca-cola",
    "é",
    "ß",
    "İ",
    "猫",
    "。",
    "\u200b",
    "7",
    "8.5",
    "10",
    "7 8",
    "9, 6",
    '["cat", "dog"]',
    "[]",
    '["cat"',
    "```json\n",
    "\n```",
    "```",
    "Rating: 3",
    "rating: 0",
    "**",
)


def strings(number: int, seed: int) -> list[str]:
    """Pieces put together, with and without spaces; every tenth is of random characters."""
    draw = random.Random(seed)
    made = []
    for count in range(number):
        if count % 10 == 9:
            made.append(
                "".join(
                    chr(draw.choice((draw.randrange(32, 127), draw.randrange(32, 0x2FF))))
                    for _ in range(draw.randrange(30))
                )
            )
        else:
            made.append(draw.choice(("", " ", " ")).join(draw.choices(PIECES, k=draw.randrange(9))))
    return made


def official(file: Path, *names: str, **given: Any) -> SimpleNamespace:
    """Some functions and classes of an official file, with what they use of its imports."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    wanted = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name in names]
    if len(wanted) != len(names):
        raise SystemExit(f"Error: {file} has not all of {', '.join(names)}.")
    space: dict[str, Any] = {"json": json, "re": re, **given}
    exec(compile(ast.Module(wanted, []), str(file), "exec"), space)
    return SimpleNamespace(**{name: space[name] for name in names})


def check_pope(folder: Path, said: Sequence[str]) -> tuple[list[Any], list[Any]]:
    rule = official(folder / "LLaVA/llava/eval/eval_pope.py", "eval_pope")
    answers = [{"text": text} for text in said]
    labels = ["no" if number % 2 else "yes" for number in range(len(said))]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file, contextlib.redirect_stdout(io.StringIO()) as told:
        file.write("".join(json.dumps({"label": label}) + "\n" for label in labels))
        file.flush()
        rule.eval_pope(answers, file.name)
    theirs = [row["text"] for row in answers] + [float(n) for n in told.getvalue().splitlines()[-1].split(",")]
    ours = pope.scores(said, labels)
    rates = [round(ours[name], 3) for name in ("f1", "accuracy", "precision", "recall", "yes_ratio")]
    return theirs, [*map(pope.parse, said), *rates]


def check_vqa(folder: Path, said: Sequence[str]) -> tuple[list[Any], list[Any]]:
    rule = official(
        folder / "LLaVA/llava/eval/m4c_evaluator.py",
        "EvalAIAnswerProcessor",
        "TextVQAAccuracyEvaluator",
        tqdm=lambda rows: rows,
    )
    scorer = rule.TextVQAAccuracyEvaluator()
    theirs, ours = [], []
    for number, text in enumerate(said):
        draw = random.Random(number)
        people = [draw.choice((text, text.upper(), *said[:3], f"the {text}")) for _ in range(10)]
        theirs += [
            scorer.answer_processor(text),
            round(scorer.eval_pred_list([{"pred_answer": text, "gt_answers": people}]), 9),
        ]
        ours += [vqa.normalise(text), round(vqa.accuracy(text, people), 9)]
    return theirs, ours


def check_gqa(folder: Path, said: Sequence[str]) -> tuple[list[Any], list[Any]]:
    truths = [text.strip(" .").lower() for text in said]
    with tempfile.TemporaryDirectory() as place:
        source, target = Path(place, "said.jsonl"), Path(place, "read.json")
        source.write_text("".join(json.dumps({"question_id": n, "text": t}) + "\n" for n, t in enumerate(said)))
        script = folder / "LLaVA/scripts/convert_gqa_for_eval.py"
        subprocess.run([sys.executable, str(script), "--src", str(source), "--dst", str(target)], check=True)
        read = [row["prediction"] for row in json.loads(target.read_text())]
    return [one == truth for one, truth in zip(read, truths, strict=True)], list(map(gqa.right, said, truths))


def check_llava_bench(folder: Path, said: Sequence[str]) -> tuple[list[Any], list[Any]]:
    rule = official(folder / "LLaVA/llava/eval/eval_gpt_review_bench.py", "parse_score")
    said = [
        *said,
        *(
            f"{first}{between}{second}{behind}"
            for first in ("7", "8.5", "10", "x")
            for between in (" ", ",", ", ", "\n", " : ")
            for second in ("6", "9.5", "")
            for behind in ("", "\nBecause.", " points")
        ),
    ]
    theirs, ours = [], []
    with contextlib.redirect_stdout(io.StringIO()):
        for text in said:
            found = tuple(rule.parse_score(text))
            if all(0 < value <= 10 for value in found):  # else it is -1, or no score of the scale
                theirs.append(found)
                ours.append(ratings.two_scores(text))
    return theirs, ours


def check_mme(folder: Path, said: Sequence[str]) -> tuple[list[Any], list[Any]]:
    rule = official(folder / "Deco/eval_tool/calculation.py", "calculate_metrics").calculate_metrics()
    return [rule.parse_pred_ans(text.lower()) for text in said], list(map(mme.parse, said))


def check_mmstar(folder: Path, said: Sequence[str]) -> tuple[list[Any], list[Any]]:
    file = folder / "MMStar/eval/vlmeval/evaluate/mmstar.py"
    assigned = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Assign)]
    categories = next(
        ast.literal_eval(node.value) for node in assigned if ast.unparse(node.targets[0]) == "MMStar_score_l2"
    )
    kinds = [(one, other) for one, others in categories.items() for other in others]
    read: list[float] = []
    rows: list[dict[str, str]] = []

    class Rows:
        iloc = rows

        def __len__(self) -> int:
            return len(rows)

    quiet = SimpleNamespace(info=lambda _: None)
    rule = official(
        file,
        "MMStar_eval",
        deepcopy=deepcopy,
        load=lambda _: Rows(),
        get_logger=lambda _: quiet,
        tqdm=lambda rows: rows,
        dump=lambda score, _: read.append(score["final score"]),
    )
    truths = [random.Random(number).choice("ABCD") for number in range(len(said))]
    for text, truth in zip(said, truths, strict=True):
        # It divides by the rows of each of its categories: the answer stands in all of them.
        rows[:] = [
            {"prediction": text, "answer": truth, "bench": "", "category": one, "l2_category": other}
            for one, other in kinds
        ]
        rule.MMStar_eval("answers.xlsx")
    return [bool(score) for score in read], list(map(mmstar.right, said, truths))


def check_hallusionbench(folder: Path, said: Sequence[str]) -> tuple[list[Any], list[Any]]:
    marks = official(folder / "VLMEvalKit/vlmeval/smp/misc.py", "process_punctuation")
    rule = official(
        folder / "VLMEvalKit/vlmeval/dataset/utils/yorn.py",
        "YOrN_Extraction",
        process_punctuation=marks.process_punctuation,
    )
    return [rule.YOrN_Extraction(text).lower() for text in said], list(map(yes_no.parse, said))


def check_mmhal(_folder: Path, said: Sequence[str]) -> tuple[list[Any], list[Any]]:
    """Explanations that speak of no rating, and then one of the seven lines that the prompt lists."""
    scale = (
        "not informative, with hallucination",
        "somewhat informative, with hallucination",
        "very informative, with hallucination",
        "not informative, no hallucination",
        "somewhat informative, no hallucination",
        "very informative, no hallucination",
        "very informative with good analysis or reasoning, no hallucination",
    )
    before = [text.replace("Rating", "").replace("rating", "") for text in said]
    replies = [
        f"{text}\nRating: {number % 7}{(', ' + scale[number % 7]) * (number % 2)}" for number, text in enumerate(before)
    ]
    theirs = []
    for reply in replies:
        found = [score for score in range(7) if f"rating: {score}" in reply.lower()]
        theirs.append(found[0] if len(found) == 1 else 0)
    return theirs, list(map(ratings.rating, replies))


def check_object_halbench(folder: Path, said: Sequence[str]) -> tuple[list[Any], list[Any]]:
    rule = official(folder / "RLAIF-V/eval/eval_gpt_obj_halbench.py", "parse_object_list")
    said = [
        *said,
        *(
            f"{before}{found}{behind}"
            for before in ("", "Here:\n", "```json\n", "```\n", "x\n```json\n")
            for found in ('["cat", "dog"]', "[]", '["cat"', '{"a": 1}', "()", '["a", 1]', "none")
            for behind in ("", "\n", "\n```", "\n```\n", "\nDone.")
        ),
    ]
    theirs, ours = [], []
    with contextlib.redirect_stdout(io.StringIO()):
        for text in said:
            with contextlib.suppress(Exception):
                found = rule.parse_object_list(text)
                if isinstance(found, list) and all(isinstance(name, str) for name in found):
                    theirs.append(found)
                    ours.append(ratings.objects(text))
    return theirs, ours


def check_dash_b(folder: Path, said: Sequence[str]) -> tuple[list[Any], list[Any]]:
    """Of the file its head alone, since the rest needs Python 3.12."""
    head, _, _ = (folder / "DASH-B/src/eval_utils.py").read_text(encoding="utf-8").partition("def compute_results(")
    with tempfile.NamedTemporaryFile("w", suffix=".py") as file:
        file.write(head)
        file.flush()
        rule = official(Path(file.name), "compute_answer")
    return [rule.compute_answer(text) or "" for text in said], list(map(dash_b.parse, said))


def check_naturalbench(folder: Path, said: Sequence[str]) -> tuple[list[Any], list[Any]]:
    rule = official(folder / "NaturalBench/naturalbench_vqa.py", "extract_answer")
    asked = [(text, kind) for kind in ("yes_no", "multiple_choice") for text in said]
    with contextlib.redirect_stdout(io.StringIO()):
        theirs = [{1: True, 0: False, -1: None}[rule.extract_answer(*one)] for one in asked]
    return theirs, [naturalbench.says_true(*one) for one in asked]


def check_mmvp(folder: Path, said: Sequence[str]) -> tuple[list[Any], list[Any]]:
    rule = official(folder / "lmms-eval/lmms_eval/tasks/mmvp/utils.py", "_extract_answer_letter")
    return list(map(rule._extract_answer_letter, said)), list(map(mmvp.letter, said))


def check_refomb(folder: Path, said: Sequence[str]) -> tuple[list[Any], list[Any]]:
    rule = official(folder / "RLAIF-V/eval/eval_RefoMB_p0.py", "post_process")
    replies = [f"{text}[[{'ABC'[number % 3]}]]{said[number - 1]}[[C]]" for number, text in enumerate(said)]
    theirs = [(rule.post_process(reply)[0] + 1) / 2 for reply in replies]
    return theirs, [refomb.WON[refomb.verdict(reply) or ""] for reply in replies]


CHECKS: dict[str, Callable[[Path, Sequence[str]], tuple[list[Any], list[Any]]]] = {
    "POPE": check_pope,
    "VQA accuracy": check_vqa,
    "GQA": check_gqa,
    "LLaVA-Bench": check_llava_bench,
    "MME": check_mme,
    "MMStar": check_mmstar,
    "HallusionBench": check_hallusionbench,
    "Object HalBench": check_object_halbench,
    "MMHal-Bench": check_mmhal,
    "DASH-B": check_dash_b,
    "NaturalBench": check_naturalbench,
    "MMVP": check_mmvp,
    "RefoMB": check_refomb,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--strings", type=int, default=1000)
    given = parser.parse_args()
    failed = False
    for seed, (name, check) in enumerate(CHECKS.items()):
        said = strings(given.strings, seed)
        theirs, ours = check(given.folder, said)
        wrong = [(one, other) for one, other in zip(theirs, ours, strict=True) if one != other]
        failed |= bool(wrong) or not theirs
        values = len({str(value) for value in theirs})
        print(
            f"{name:16} {len(theirs):5} readings of {len(said)} strings, {values} different, {len(wrong)} unlike ours"
        )
        for one, other in wrong[:5]:
            print(f"  official {one!r}, ours {other!r}")
    if failed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
