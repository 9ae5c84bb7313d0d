from __future__ import annotations

import base64
import io
import json
import re
from itertools import islice
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from peft import LoraConfig, get_peft_model
from PIL import Image
from transformers import AutoModelForImageTextToText

import mmpref
from mmpref.api.diagnosis import _examples
from mmpref.cli.inspect import command
from mmpref.errors import InputError, UsageError
from mmpref.registry import resolve_path
from mmpref.tables.open import open_table


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), (200, 30, 30)).save(buffer, "PNG")
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    row = {
        "images": ["a.png"],
        "prompt": "What is <b>it</b>?",
        "chosen": "A red square.",
        "rejected": "A <script>blue</script> cup.",
    }
    rows = [row, {**row, "rejected": "A red square."}, {**row, "images": ["gone.png"]}]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "train.jsonl"


def test_problems_are_shown_with_row_and_column(dataset: Path) -> None:
    result = CliRunner().invoke(command, [str(dataset)])
    assert result.exit_code == 0, result.output
    assert "equal-answers" in result.output
    head, equal, bad = result.output.partition("problems: why")[2].splitlines()[1:4]
    assert head.split() == ["kind", "found", "row", "(from", "0)", "image", "column", "what"]
    assert equal.split()[:5] == ["equal-answers", "1", "1", "a.png", "rejected"]
    assert bad.split()[:5] == ["bad-image", "1", "2", "gone.png", "images"]


def test_columns_of_other_names_are_read(dataset: Path) -> None:
    renamed = dataset.with_name("mine.jsonl")
    renamed.write_text(dataset.read_text().replace('"images"', '"file"').replace('"rejected"', '"bad"'))
    named = ["--columns", "image=file,rejected=bad", "--image-root", str(dataset.parent), "--json"]
    result = CliRunner().invoke(command, [str(renamed), *named])
    plain = CliRunner().invoke(command, [str(dataset), "--json"])
    reports = [json.loads(one.stdout) for one in (result, plain)]
    assert reports[0]["rows"] == reports[1]["rows"] == 3
    assert reports[0]["problems"].keys() == reports[1]["problems"].keys()
    with pytest.raises(UsageError, match="--columns is for the rows of a dataset or a source"):
        CliRunner().invoke(command, ["--model", "me/vlm", "--columns", "image=file"], catch_exceptions=False)


def test_json_names_rows_and_columns(dataset: Path) -> None:
    report = json.loads(CliRunner().invoke(command, [str(dataset), "--json"]).stdout)
    assert report["rows"] == 3
    assert report["problems"]["equal-answers"]["first"][0]["row"] == 1
    assert report["problems"]["bad-image"]["first"][0]["column"] == "images"


def test_the_gallery_escapes_text_and_needs_no_network(dataset: Path, tmp_path: Path) -> None:
    page = tmp_path / "out" / "gallery.html"
    assert CliRunner().invoke(command, [str(dataset), "--html", str(page)]).exit_code == 0
    text = page.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert "data:image/png;base64," in text
    assert "<script>blue" not in text
    assert "\\u003cscript\\u003eblue\\u003c/script\\u003e" in text
    assert "http" not in text.replace("http-equiv", "")


def test_an_unknown_split_is_an_error(dataset: Path) -> None:
    result = CliRunner().invoke(command, [str(dataset.parent), "--split", "nope"])
    assert isinstance(result.exception, InputError)


def test_a_model_scores_the_answers(dataset: Path) -> None:
    result = CliRunner().invoke(command, [str(dataset), "--model", "pkg:mmpref.testbed/model", "--json"])
    assert result.exit_code == 0, result.output
    under = json.loads(result.stdout)["under_model"]
    assert under["rows"] == 1, "the other pair's answers are equal, and training skips it"
    assert under["image_tokens"]["mean"] > 0


@pytest.mark.parametrize(("extra", "warned"), [(0, False), (1, True)])
def test_rejected_answers_that_are_longer_are_warned_of(
    extra: int, warned: bool, dataset: Path, tmp_path: Path
) -> None:
    row = json.loads(dataset.read_text().splitlines()[0])
    rows = [{**row, "chosen": f"w{number} " * 20, "rejected": f"x{number} " * (20 + extra)} for number in range(3)]
    dataset.write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = tmp_path / "page.html"
    shown = CliRunner().invoke(command, [str(dataset), "--html", str(page)]).stdout
    report = json.loads(CliRunner().invoke(command, [str(dataset), "--json"]).stdout)
    assert report["length_bias"]["ratio"] == (20 + extra) / 20
    for text in (" ".join(shown.split()), page.read_text(), " ".join(report["warnings"])):
        assert ("Rejected answers are 5.0% longer" in text) is warned


def test_a_chinese_answer_has_as_many_words_as_characters(dataset: Path, tmp_path: Path) -> None:
    row = json.loads(dataset.read_text().splitlines()[0])
    dataset.write_text(
        json.dumps({**row, "chosen": "桌子上有一只猫。它在睡觉。", "rejected": "桌子上有一只狗。它在睡觉。"})
    )
    report = json.loads(CliRunner().invoke(command, [str(dataset), "--json"]).stdout)
    assert report["words"]["chosen"]["min"] == report["words"]["rejected"]["max"] == 11
    assert report["differing_words"]["max"] == pytest.approx(1 / 11, abs=1e-4)
    page = tmp_path / "page.html"
    CliRunner().invoke(command, [str(dataset), "--html", str(page)])
    shown = json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL)[1])["rows"][0]
    assert shown["c"] == [["桌子上有一只", False], ["猫。", True], ["它在睡觉。", False]]
    assert shown["w"] == 22


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "nothing to inspect"),
        (["--model", "me/vlm"], "no rows to ask me/vlm about"),
        (["pairs.jsonl", "--source", "rows.jsonl"], "--source is for a model alone"),
        (["pairs.jsonl", "--rows", "2"], "--rows is for a model alone"),
        (["pairs.jsonl", "--synonyms", "words.txt"], "--synonyms is for a model alone"),
        (["pairs.jsonl", "--samples", "1"], "--samples is for the gallery"),
        (["--model", "pkg:mmpref.testbed/model", "--samples", "1"], "--samples is for the gallery"),
        (["--model", "me/vlm", "--html", "page.html"], "--html shows the rows of a dataset"),
        (["--adapter", "me/adapter"], "An adapter is inspected on its base, and none is named"),
        (["pairs.jsonl", "--adapter", "me/adapter"], "An adapter is inspected on its base, and none is named"),
        (["--model", "me/vlm", "--adapter-revision", "main"], "There is no adapter that adapter_revision could be of"),
        (["pairs.jsonl", "--adapter-revision", "main"], "There is no adapter that adapter_revision could be of"),
    ],
)
def test_what_to_inspect_is_named(words: list[str], says: str) -> None:
    result = CliRunner().invoke(command, words)
    assert isinstance(result.exception, UsageError)
    assert says in result.exception.message


def test_where_hallucinations_come_from(tmp_path: Path) -> None:
    model = ["--model", "pkg:mmpref.testbed/model"]
    result = CliRunner().invoke(command, [*model, "--rows", "12"])
    assert result.exit_code == 0, result.output
    named = re.search(r"12 answers name (\d+) things, (\d+) of them hallucinated", result.stdout)
    assert named, result.stdout
    assert "Looked for: the objects of pkg:mmpref.testbed/synonyms.txt" in result.stdout
    assert int(named[1]) > 24 > int(named[2]) > 0, "two things and more an answer, and most of them are there"
    assert re.search(
        r"likelier by \S+ \[.*?\] nats, the text before by .*?; the rest of the image adds \S+ \[",
        " ".join(result.stdout.split()),
    )
    rows = list(islice(open_table("testbed-chair", "test"), 6))
    lines = [{"image": base64.b64encode(row["image"]["bytes"]).decode(), "gt_object": row["gt_object"]} for row in rows]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    synonyms = ["--synonyms", "pkg:mmpref.testbed/synonyms.txt"]
    shown = CliRunner().invoke(command, [*model, "--source", str(tmp_path / "rows.jsonl"), *synonyms, "--json"])
    report = json.loads(shown.stdout)
    assert report["rows"] == 6
    assert report["conclusion"] in ("gist", "both", "image", "text", "cannot be told")
    assert report["hallucinated"] == report["measured"] + sum(report["left_out"].values())
    (tmp_path / "other.txt").write_text("unicorn\n")
    other = CliRunner().invoke(command, [*model, "--rows", "2", "--synonyms", str(tmp_path / "other.txt")])
    assert "2 answers name 0 things" in other.stdout
    assert f"No answer names any of the objects of {tmp_path / 'other.txt'}: give more rows" in other.stdout


def test_an_adapter_is_on_in_all_that_is_asked(dataset: Path, tmp_path: Path) -> None:
    model, adapter = "pkg:mmpref.testbed/model", str(tmp_path / "adapter")
    base = AutoModelForImageTextToText.from_pretrained(resolve_path(model))
    torch.manual_seed(0)
    layers = r"model\.language_model\..*\.[qv]_proj"
    get_peft_model(base, LoraConfig(r=4, target_modules=layers, init_lora_weights=False)).save_pretrained(adapter)
    for asked, read in (
        (["--rows", "4"], lambda report: report["names"]),
        ([str(dataset)], lambda report: report["under_model"]["margin"]["mean"]),
    ):
        results = [
            CliRunner().invoke(command, [*asked, "--model", model, *on, "--json"])
            for on in ([], ["--adapter", adapter])
        ]
        assert [result.exit_code for result in results] == [0, 0], results
        plain, adapted = (json.loads(result.stdout) for result in results)
        named = adapted.get("model") or adapted["under_model"]["model"]
        assert named == f"{model} + {adapter}"
        assert read(adapted) != read(plain)
    policy = mmpref.load_policy(model, adapter=adapter)
    same = mmpref.inspect(str(dataset), model=policy, progress=False).report["under_model"]
    assert same == adapted["under_model"], "a loaded one goes by its names"


@pytest.mark.long
def test_a_model_that_was_taught_to_name_the_place_first_follows_the_text() -> None:
    """The words of both come from what the image shows as long as it is seen: which of them the models still say
    does not tell them apart."""
    asked = ["--source", "testbed", "--synonyms", "pkg:mmpref.testbed/synonyms.txt", "--rows", "100", "--json"]
    [text_first] = (Path(__file__).parents[2] / "model_cards/text-first/bases").glob("0-*")
    concluded = []
    for model in ("pkg:mmpref.testbed/model", str(text_first)):
        result = CliRunner().invoke(command, ["--model", model, *asked])
        assert result.exit_code == 0, result.output
        concluded.append(json.loads(result.stdout)["conclusion"])
    assert concluded == ["both", "text"]


def test_no_more_rows_are_read_than_are_needed(tmp_path: Path) -> None:
    """Nor fewer: the only row that tells may be the last."""
    row = next(iter(open_table("testbed-chair", "test")))
    short = {"image": base64.b64encode(row["image"]["bytes"]).decode(), "question": "What is it?", "answer": "A thing."}
    lines = [json.dumps(short)] * 20
    told = json.dumps({**short, "answer": "There is a cup at the back. There is a fork at the front."})
    for name, rows in {"last": [*lines, told], "first": [told, *lines, "no row at all"]}.items():
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows))
        table, [example] = _examples(str(tmp_path / f"{name}.jsonl"), 1, None, None, ())
        assert example.source_id == f"{table.name}/train/{len(rows) - 1 if name == 'last' else 0}"


def test_a_source_may_have_columns_of_its_own(tmp_path: Path) -> None:
    row = next(iter(open_table("testbed-chair", "test")))
    (tmp_path / "0.png").write_bytes(row["image"]["bytes"])
    answer = "Eine Tasse steht hinten. Vorne liegt eine Gabel."
    (tmp_path / "daten.csv").write_text(f"Datei;Frage;Antwort\n0.png;Was ist das?;{answer}\n", encoding="utf-8")
    named = {"image": "Datei", "prompt": "Frage", "answer": "Antwort"}
    _, [example] = _examples(str(tmp_path / "daten.csv"), 1, None, None, (str(tmp_path),), named)
    assert (example.prompt[-1].content, example.answer) == ("Was ist das?", answer)
    with pytest.raises(InputError, match="has no column 'Bild'"):
        _examples(str(tmp_path / "daten.csv"), 1, None, None, (), {"image": "Bild"})


def test_rows_with_short_answers_cannot_tell(tmp_path: Path) -> None:
    row = next(iter(open_table("testbed-chair", "test")))
    line = {"image": base64.b64encode(row["image"]["bytes"]).decode(), "question": "What is it?", "answer": "A thing."}
    (tmp_path / "rows.jsonl").write_text(json.dumps(line))
    asked = ["--model", "pkg:mmpref.testbed/model", "--source", str(tmp_path / "rows.jsonl")]
    result = CliRunner().invoke(command, asked)
    assert isinstance(result.exception, InputError)
    assert "two sentences" in result.exception.message
