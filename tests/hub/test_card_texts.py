"""What cards say to somebody who knows nothing of the run: titles, tables, samples, pictures."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mmpref.data.summary import summary_rows
from mmpref.hub.cards.add_results import add_results
from mmpref.hub.cards.markdown import marked_pair, remark, table
from mmpref.hub.cards.model import model_card, write_model_card
from mmpref.hub.cards.render import method_title
from mmpref.run.results import Results
from tests.hub.card_parts import dataset_card
from tests.hub.runs import COMMIT, adapter_manifest, dataset_run, evaluation


@pytest.mark.parametrize(
    ("method", "title"),
    [
        ("dpo", "with DPO"),
        ("mixed-dpo", "with mixed-DPO"),
        ("symmpo", "with SymMPO"),
        ("robust", "with robust"),
        ("online-bdhs", "with online-BDHS"),
        ("mdpo", "with mDPO"),
        ("apo-zero", "with APO-zero"),
        ("exo-pair", "with EXO-pair"),
        ("sppo-hard", "with SPPO-hard"),
        ("of-a-plugin-that-is-gone", "with of-a-plugin-that-is-gone"),
    ],
)
def test_a_title_shouts_acronyms_only(method: str, title: str) -> None:
    assert f"# llava-v1.6-vicuna-7b-hf {title}\n" in model_card(adapter_manifest(method=method))


@pytest.mark.parametrize(
    ("method", "title"),
    [
        ("self-correct", "self-correct"),
        ("hide-object", "hide-object"),
        ("same-kind", "same-kind"),
        ("bdhs-own", "BDHS-own"),
        ("chair-rank", "CHAIR-rank"),
        ("povid-distortion", "POVID-distortion"),
        ("llava-rlhf", "LLaVA-RLHF"),
    ],
)
def test_words_in_the_names_of_builders_are_words(method: str, title: str) -> None:
    assert method_title({"command": "build-dataset", "recipe": {"method": method}}) == title


@pytest.mark.parametrize(
    ("method", "paper"),
    [
        ("dpo", "2305.18290"),
        ("simpo", "2405.14734"),
        ("tr-dpo", "2404.09656"),
        ("povid", "2402.11411"),
        ("token-dpo", "2312.00849"),
        ("avg-dpo", None),
        ("sft", None),
    ],
)
def test_the_paper_of_a_method_is_cited(method: str, paper: str | None) -> None:
    """The study's own methods, and controls, have none beside it."""
    card = model_card(adapter_manifest(method=method))
    assert re.findall(r"The method is from \[arXiv ([\d.]+)\]", card) == ([paper] if paper else [])
    assert re.findall(r"eprint=\{(.+)\}", card) == ([paper] if paper else [])
    assert card.count("```bibtex\n") == (2 if paper else 1)


def test_settings_that_decide_nothing_are_not_shown() -> None:
    def shown(**changes: object) -> set[str]:
        manifest = adapter_manifest()
        manifest["recipe"] |= changes
        return set(re.findall(r"^\| <code>([\w.&#;]+)</code> \|", model_card(manifest).replace("&#95;", "_"), re.M))

    trainer = {"num_train_epochs": 3, "max_steps": -1, "learning_rate": 1e-5}
    assert {"trainer.num_train_epochs", "projector_learning_rate", "lora.r"} <= shown(trainer=trainer)
    by_steps = shown(trainer={**trainer, "max_steps": 40})
    assert "trainer.max_steps" in by_steps
    assert "trainer.num_train_epochs" not in by_steps, "max_steps is how long it trained"
    assert "projector_learning_rate" not in shown(train_projector=False)
    assert "lora.r" not in shown(tuning="full")


def test_a_reward_models_title_says_what_it_is() -> None:
    card = model_card(adapter_manifest(method="reward-model", held_out={"me/pairs": {"accuracy": 0.5, "rows": 4}}))
    assert "# llava-v1.6-vicuna-7b-hf as a reward model\n" in card
    assert "better than the base is better than chance" in card
    assert "Plain clients" not in card, "which cannot load it"


@pytest.mark.parametrize("trusted", [False, True])
def test_the_loading_code_runs_a_models_own_code_where_the_run_did(trusted: bool) -> None:
    manifest = adapter_manifest()
    manifest["recipe"]["trust_remote_code"] = trusted
    in_full = {**manifest, "recipe": {**manifest["recipe"], "tuning": "full"}}
    reward_model = {**manifest, "held_out": {}}
    for card, loads in (
        (model_card(manifest), 2),
        (model_card(manifest, merged=True), 2),
        (model_card(in_full), 2),
        (model_card(reward_model), 1),
    ):
        code = card.split("```python\n")[1].split("```")[0]
        assert code.count(", trust_remote_code=True)") == (loads if trusted else 0)
    assert f'ModelRef("llava-hf/llava-v1.6-vicuna-7b-hf", "{COMMIT}", adapter=' in code


def test_a_union_is_called_by_all_its_sets_and_says_what_made_its_pairs(tmp_path: Path) -> None:
    sets = [{"id": f"/home/someone/{name}", "revision": None, "licence": "mit"} for name in ("masked", "corrupted")]
    names = " + ".join(one["id"] for one in sets)
    source = {"id": names, "split": "train", "revision": None, "licence": "mit", "sources": sets}
    methods = ("masking", "corrupt", "masking")
    manifest = dataset_run(tmp_path / "run", methods=methods, method="mix", model=None, written=[], source=source)
    card = dataset_card(tmp_path / "run", manifest)
    assert "# Mix preference pairs from masked + corrupted\n" in card
    assert "are those of <code>/path/to/masked + /path/to/corrupted</code>" in " ".join(card.split())
    assert "Pairs by the method that made them: <code>masking</code> 2, <code>corrupt</code> 1.\n" in card
    assert "- mix\n- masking\n- corrupt\n" in card


def test_both_rejected_answers_of_a_pair_are_shown(tmp_path: Path) -> None:
    manifest = dataset_run(tmp_path / "run", second="A dog sleeps.")
    manifest["recipe"]["keep_rejected"] = True
    card = dataset_card(tmp_path / "run", manifest)
    assert card.count("* **Second rejected:** ") == 3
    assert "(of the second rejected answer: similarity 0.500, try 2)" in card
    assert "cosine similarity, second rejected" in card
    alone = dataset_card(tmp_path / "alone", dataset_run(tmp_path / "alone"))
    assert "econd rejected" not in alone


def test_rows_that_were_left_out_are_explained(tmp_path: Path) -> None:
    counts = {"rows": 3, "skipped": {"one-answer": 2, "plugins-own": 1}}
    card = dataset_card(tmp_path / "run", dataset_run(tmp_path / "run", counts=counts))
    assert (
        "left out: 2 one-answer (the model gave no two different answers that can be told apart); 1 plugins-own.\n"
        in card
    )


@pytest.mark.parametrize(
    ("rows", "says"), [(1, "Another 1 row is not here"), (1560, "Another 1,560 rows are not here")]
)
def test_rows_whose_answers_came_out_equal_are_counted(rows: int, says: str, tmp_path: Path) -> None:
    counts = {"rows": 3, "skipped": {"same-as-chosen": rows}}
    assert says in dataset_card(tmp_path / "run", dataset_run(tmp_path / "run", counts=counts))


def test_the_curves_of_a_training_are_shown_where_they_are(tmp_path: Path) -> None:
    write_model_card(tmp_path, adapter_manifest())
    assert "training.png" not in (tmp_path / "README.md").read_text(encoding="utf-8")
    (tmp_path / "training.png").write_bytes(b"")
    write_model_card(tmp_path, adapter_manifest())
    assert "](training.png)" in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_results_of_a_whole_model_are_not_called_a_bases() -> None:
    manifest = adapter_manifest()
    manifest["recipe"]["tuning"] = "full"
    both = evaluation()
    alone = {
        **both,
        "models": both["models"][:1],
        "results": [row for row in both["results"] if row["model"] == "base"],
        "differences": [],
    }
    results = add_results(model_card(manifest), Results.from_dict(alone)).partition("## Results")[2]
    assert "| benchmark (part), metric | this model | n |" in results
    assert "| pope (random), accuracy ↑ | 0.864 [0.854, 0.874] | 3,000 |" in results
    for word in ("base", "adapter", "difference", "both models"):
        assert word not in results


def test_columns_of_text_stand_to_the_left() -> None:
    rows = [("a", "b", "1")]
    assert table(("x", "y", "n"), rows).splitlines()[1] == "| --- | ---: | ---: |"
    assert table(("x", "y", "n"), rows, texts=(1,)).splitlines()[1] == "| --- | --- | ---: |"


def test_lengths_are_in_words_as_the_build_prints_them(tmp_path: Path) -> None:
    manifest = dataset_run(tmp_path / "run")
    report = tmp_path / "run" / "report.json"
    facts = json.loads(report.read_text(encoding="utf-8"))
    facts["length_bias"]["ratio"], facts["length_ratio"] = 1.4286, {"mean": 1.6489}  # in words, in characters
    report.write_text(json.dumps(facts), encoding="utf-8")
    statistics = dataset_card(tmp_path / "run", manifest).partition("## Statistics")[2].partition("## Sample")[0]
    [(name, ratio)] = [row for row in summary_rows({**manifest, "length_ratio": 1.4286}) if "over chosen" in row[0]]
    assert (name, ratio) == ("length of rejected answers over chosen ones, in words", "1.429")
    assert f"\n{name[0].upper()}{name[1:]}: {ratio}.\n" in statistics
    assert "1.649" not in statistics, "characters beside words"
    facts["length_bias"]["ratio"] = None
    report.write_text(json.dumps(facts), encoding="utf-8")
    assert "over chosen" not in dataset_card(tmp_path / "run", manifest)


def test_marks_are_explained_as_places(tmp_path: Path) -> None:
    """Words of a marked run may stand elsewhere in the other answer too."""
    assert marked_pair("a cat, a dog", "a dog, a cat", 100)[1] != "a dog, a cat"
    card = dataset_card(tmp_path / "run", dataset_run(tmp_path / "run"))
    assert "In **bold**: where the rejected answer differs. <u>Underlined</u>: where the chosen answer differs." in card
    assert "only the rejected answer says" not in card


@pytest.mark.parametrize(
    ("method", "title"),
    [("mismatched", "Mismatched"), ("other-image", "Other-image"), ("mdpo", "mDPO"), ("bdhs", "BDHS")],
)
def test_a_datasets_title_begins_with_a_capital_but_where_a_name_is_spelled_otherwise(
    tmp_path: Path, method: str, title: str
) -> None:
    card = dataset_card(tmp_path / "run", dataset_run(tmp_path / "run", method=method))
    assert f"# {title} preference pairs from sft-set\n" in card


def test_what_was_counted_while_the_pairs_were_made_is_in_the_card(tmp_path: Path) -> None:
    """Of a method that asks nobody too; with an annotator it stands in the annotator's table."""
    counts = {"objects_listed": 1200, "objects_unknown": 31, "samples_cut_off": 0}
    alone = dataset_card(tmp_path / "alone", dataset_run(tmp_path / "alone", notes=counts))
    asked = dataset_card(tmp_path / "asked", dataset_run(tmp_path / "asked", annotator={"name": "judge", **counts}))
    for card, title in ((alone, "counted while it was made"), (asked, "asked and answered")):
        of_table = card.partition(f"| {title} | count |")[2].partition("\n\n")[0]
        assert "| objects that rows list | 1,200 |" in of_table
        assert "| listed objects that no line of the table of synonyms has | 31 |" in of_table
        assert "cut off" not in of_table
    assert "counted while" not in dataset_card(tmp_path / "none", dataset_run(tmp_path / "none"))


def test_code_of_a_remark_stays_code_and_what_is_from_data_stays_text() -> None:
    assert remark("Build (`build-dataset --exclude-images-of`), *or* not.") == (
        "Build (<code>build-dataset --exclude-images-of</code>), &#42;or&#42; not."
    )
    assert remark("`<b>` and ` alone\n`x") == "<code>&#60;b&#62;</code> and &#96; alone<br>&#96;x"
    said = "pope: see (`build-dataset`)."
    results = Results.from_dict(evaluation(asked={"remarks": [said]}))
    card = model_card(adapter_manifest(remarks=[said]), results)
    assert card.count("see (<code>build-dataset</code>).") == 2
