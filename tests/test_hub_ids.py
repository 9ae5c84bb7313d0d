"""Addresses of Hub pages as people paste them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from mmpref.api import options
from mmpref.cli import common
from mmpref.cli.main import program
from mmpref.errors import UsageError
from mmpref.hub_ids import HubPage, hub_page, model_id, name_for_others, refuse_page, repo_id


@pytest.mark.parametrize(
    ("text", "page"),
    [
        ("https://huggingface.co/datasets/alice/mixed", HubPage("alice/mixed", "dataset")),
        (" http://hf.co/datasets/alice/mixed/ ", HubPage("alice/mixed", "dataset")),
        ("huggingface.co/datasets/alice/mixed?row=3", HubPage("alice/mixed", "dataset")),
        ("https://huggingface.co/datasets/alice/mixed/viewer/default/train?row=3", HubPage("alice/mixed", "dataset")),
        ("https://huggingface.co/datasets/alice/mixed/tree/v1", HubPage("alice/mixed", "dataset", "v1")),
        (
            "https://huggingface.co/datasets/alice/mixed/tree/refs%2Fpr%2F1",
            HubPage("alice/mixed", "dataset", "refs/pr/1"),
        ),
        (
            "https://huggingface.co/datasets/alice/mixed/tree/refs/convert/parquet/default",
            HubPage("alice/mixed", "dataset", "refs/convert/parquet", "default"),
        ),
        (
            "https://huggingface.co/datasets/alice/mixed/blob/main/data/a.parquet",
            HubPage("alice/mixed", "dataset", "main", "data/a.parquet"),
        ),
        (
            "https://huggingface.co/datasets/alice/mixed/resolve/main/a.jsonl?download=true",
            HubPage("alice/mixed", "dataset", "main", "a.jsonl"),
        ),
        ("https://huggingface.co/alice/merged", HubPage("alice/merged", "model")),
        ("https://huggingface.co/alice/merged.git", HubPage("alice/merged", "model")),
        ("https://huggingface.co/spaces/alice/demo", HubPage("alice/demo", "space")),
        ("https://huggingface.co/datasets", None),
        ("https://example.com/datasets/alice/mixed", None),
        ("http://127.0.0.1:8000/v1#model", None),
        ("hf://datasets/alice/mixed", None),
        ("alice/mixed", None),
        ("./huggingface.co", None),
    ],
)
def test_what_an_address_stands_for(text: str, page: HubPage | None) -> None:
    assert hub_page(text) == page
    assert repo_id(text, page.kind if page else "dataset") == (page.repo_id if page else text)


def test_another_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    address = "https://hub.example.com/datasets/alice/mixed"
    assert hub_page(address) is None
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example.com")
    assert repo_id(address, "dataset") == "alice/mixed"


@pytest.mark.parametrize(
    ("address", "hint"),
    [
        ("https://huggingface.co/alice/merged", "Give the id alice/merged."),
        ("http://hf.co/alice/merged?library=peft", "Give the id alice/merged."),
        ("https://huggingface.co/a/b/tree/v2", "Give the id a/b, and v2 as its revision."),
        (
            "https://huggingface.co/alice/merged/blob/refs%2Fpr%2F1/config.json",
            "Give the id alice/merged, and refs/pr/1 as its revision; config.json is a part of it, which has no id.",
        ),
    ],
)
def test_where_an_id_is_asked_for_it_is_told(address: str, hint: str) -> None:
    with pytest.raises(UsageError) as raised:
        refuse_page(address)
    assert raised.value.hint == hint


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("https://huggingface.co/alice/merged", "alice/merged"),
        ("huggingface.co/alice/merged/tree/main", "alice/merged"),
        ("https://huggingface.co/alice/merged/discussions", "alice/merged"),
        ("alice/merged", "alice/merged"),
        ("./models/merged", "./models/merged"),
        ("http://127.0.0.1:8000/v1#m", "http://127.0.0.1:8000/v1#m"),
        ("https://huggingface.co/a/b#gpt", "https://huggingface.co/a/b#gpt"),
    ],
)
def test_a_model_is_named_by_its_page_too(given: str, name: str) -> None:
    assert model_id(given) == name


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("https://huggingface.co/alice/merged/tree/v2", "and v2 as its revision"),
        ("https://huggingface.co/alice/lora/tree/main/checkpoint-500", "checkpoint-500 is a part of it"),
        ("https://huggingface.co/datasets/alice/mixed", "the page of a dataset, not of a model"),
        ("https://huggingface.co/spaces/alice/demo", "the page of a space, not of a model"),
    ],
)
def test_no_page_of_anything_else_is_taken_for_a_model(address: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        model_id(address)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("resolve", "option"),
    [
        (options.build_recipe, "model"),
        (options.train_recipe, "model"),
        (options.evaluate_recipe, "model"),
        (options.evaluate_recipe, "adapter"),
    ],
)
def test_every_option_of_a_model_takes_its_address(resolve: Callable[..., Any], option: str) -> None:
    for address in ("https://huggingface.co/alice/merged", "alice/merged"):
        recipe = resolve(recipe="testbed", **{option: address}, **({} if option == "model" else {"model": "a/b"}))
        assert getattr(recipe, option) == "alice/merged"


@pytest.mark.parametrize(
    "arguments",
    [
        ["build-dataset", "--model"],
        ["train", "--model"],
        ["evaluate", "--model"],
        ["evaluate", "--adapter"],
        ["inspect", "pairs", "--model"],
        ["inspect", "--model"],
    ],
)
def test_no_command_takes_another_page_for_a_model(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "a", "chosen": "b", "rejected": "c"}\n', encoding="utf-8")
    words = [word.replace("pairs", "pairs.jsonl") for word in arguments]
    result = CliRunner().invoke(program, [*words, "https://huggingface.co/alice/merged/tree/v2"])
    assert isinstance(result.exception, UsageError)
    assert "and v2 as its revision" in str(result.exception)


@pytest.mark.parametrize("text", ["alice/merged", "http://127.0.0.1:8000/v1#m", "https://huggingface.co/a/b#gpt", ""])
def test_an_endpoint_and_an_id_are_no_pages(text: str) -> None:
    refuse_page(text)


def test_options_that_name_a_repository_take_its_address() -> None:
    @click.command()
    @common.push_options("dataset")
    def command(push: bool, hub_id: str | None, private: bool) -> None:
        click.echo(hub_id)

    for given in ("alice/mixed", "https://huggingface.co/datasets/alice/mixed"):
        assert CliRunner().invoke(command, ["--hub-dataset-id", given]).output == "alice/mixed\n"


def test_a_model_is_not_published_where_a_page_of_data_is_named() -> None:
    @click.command()
    @common.push_options("model")
    def command(push: bool, hub_id: str | None, private: bool) -> None:
        click.echo(hub_id)

    address = "https://huggingface.co/datasets/alice/mixed"
    with pytest.raises(UsageError, match="the page of a dataset, not of a model"):
        command.main(["--hub-model-id", address], standalone_mode=False)


def test_what_others_read_names_no_folder_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "dpo").mkdir(parents=True)
    for model, name in (
        ("me/vlm", "me/vlm"),
        ("pkg:mmpref.testbed/model", "pkg:mmpref.testbed/model"),
        ("runs/dpo", "dpo"),
        (str(tmp_path / "runs" / "dpo"), "dpo"),
        ("runs/../runs/dpo/", "dpo"),
        ("/gone/to/vlm", "vlm"),
        ("~/vlm", "vlm"),
        ("https://a.b/v1#me/vlm", "https://a.b/v1#me/vlm"),
        ("https://a.b/v1#/srv/models/vlm", "https://a.b/v1#vlm"),
        ("testbed-oracle", "testbed-oracle"),
    ):
        assert name_for_others(model) == name
