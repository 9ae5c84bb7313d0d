"""``mmpref doctor`` and shell completion, from outside."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmpref.align.report_to import TRACKERS
from mmpref.api.doctor import environment
from mmpref.cli.doctor import _environment, time_text
from mmpref.vlm import costs
from tests import bare, forked
from tests.hub_fixtures import HubAccount

TESTBED = "pkg:mmpref.testbed/model"


def mmpref(*arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mmpref", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_all_that_it_finds(hub: HubAccount, hub_env: dict[str, str]) -> None:
    done = bare.mmpref(["doctor", "--model", TESTBED, "--json"], hub_env)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {"python", "mmpref", "torch", "trl"} <= found["environment"]["versions"].keys()
    assert [extra["name"] for extra in found["environment"]["extras"]] == ["vision", "quantization"]
    assert found["storage"]["cache"].startswith(hub_env["HF_HOME"])
    assert found["storage"]["runs_free"] > 0
    assert found["token"] == {"user": hub.name, "role": "write", "may_write": [hub.name], "problem": ""}
    assert hub.token not in done.stdout + done.stderr
    places = [device["place"] for device in found["devices"]]
    model = found["model"]
    assert (model["family"], model["tested"], model["problem"]) == ("llava_next", True, "")
    assert model["image_tokens"] > 0
    assert list(model["work"]) == [*places, "H100"]
    for work in model["work"].values():
        assert [one["command"] for one in work] == ["build-dataset", "train", "train in 4 bits", "evaluate"]
        assert all(one["memory"] > 0 and one["fits"] and one["hours"] > 0 for one in work)
    hours = {one["command"]: one["hours"] for one in model["work"]["H100"]}
    size, image = model["sizes"]["parameters"], model["image_tokens"]
    pair = image + 60 + 2 * 75  # with the prompt and both answers
    assert hours["evaluate"] == pytest.approx(1000 * costs.forward_hours(size, image + 64)), "with its question"
    assert hours["train"] == hours["train in 4 bits"] == pytest.approx(1000 * costs.pair_hours(size, pair))


def test_a_missing_extra_is_told_with_its_install(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = ("num2words", "bitsandbytes", "torchvision", *TRACKERS)
    found = importlib.util.find_spec

    def told() -> dict[str, str]:
        return dict(_environment(environment()))

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in missing else found("json"))
    assert told()["[vision]"].startswith("lacks torchvision, num2words, for processors of ")
    assert told()["[vision]"].endswith(": pip install 'mmpref[vision]'")
    assert told()["[quantization]"].startswith("lacks bitsandbytes, for ")
    assert told()["[quantization]"].endswith(": pip install 'mmpref[quantization]'")
    assert told()["trackers"] == f"none installed ({', '.join(TRACKERS)})"
    missing = ("torchvision", "wandb")
    assert told()["[vision]"].startswith("lacks torchvision, for "), "only what is missing"
    assert told()["[quantization]"].startswith("installed, for ")
    assert "wandb" not in told()["trackers"]


@pytest.mark.parametrize(
    ("seconds", "says"),
    [
        (0.0, "under a second"),
        (0.004, "under a second"),
        (1.04, "1 s"),
        (30, "30 s"),
        (450, "7.5 min"),
        (9000, "2.5 h"),
        (float("nan"), "not known"),
    ],
)
def test_a_time_has_a_floor(seconds: float, says: str) -> None:
    assert time_text(seconds / 3600) == says


def test_a_tiny_model_takes_little_and_not_nothing(hub_env: dict[str, str]) -> None:
    done = bare.mmpref(["doctor", "--model", TESTBED], hub_env)
    assert done.returncode == 0, done.stderr
    table = done.stdout.partition("What it takes")[2]
    assert "under a second" in table
    assert "under 0.1 GB" in table
    assert not re.search(r" 0\.0+\d* (s|GB|min|h)\b", table)


@pytest.mark.parametrize(
    ("account", "says"),
    [
        ({"role": "read"}, "It can only read."),
        ({"role": "fineGrained"}, "It has no write permission for any repository."),
        (
            {
                "role": "fineGrained",
                "scopes": [{"entity": {"type": "dataset", "name": "me/set"}, "permissions": ["repo.write"]}],
            },
            "",
        ),
    ],
)
def test_what_a_token_may_write(hub: HubAccount, monkeypatch: pytest.MonkeyPatch, account: dict, says: str) -> None:
    from mmpref.hub.token import token_facts

    monkeypatch.setenv("HF_TOKEN", hub.hub.store.add_user(hub.name, **account))
    facts = token_facts(hub.endpoint)
    assert facts.user == hub.name
    assert facts.problem.startswith(says)
    assert facts.may_write == (() if says else ("me/set",))


def test_tokens_that_nobody_knows(hub: HubAccount, monkeypatch: pytest.MonkeyPatch) -> None:
    from mmpref.hub import token

    assert "no Hugging Face token" in token.token_facts(hub.endpoint).problem
    monkeypatch.setenv("HF_TOKEN", "hf_unknown")
    assert "does not know" in token.token_facts(hub.endpoint).problem
    monkeypatch.setattr(token, "_WAIT", 0.2)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        hanging = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert "did not say in" in token.token_facts(hanging).problem


def test_a_person_sees_the_first_lines_at_once() -> None:
    """Within two seconds on a machine that is idle; here, before torch is imported, which takes longest."""
    command = [sys.executable, "-X", "importtime", "-m", "mmpref", "doctor"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        began = time.monotonic()
        first = process.stdout.readline()
        waited = time.monotonic() - began
        rest, imports = process.communicate()
        whole = time.monotonic() - began
    assert first.startswith("mmpref ")
    assert waited < whole / 2
    assert "TFLOP/s" in rest
    assert max(map(len, rest.splitlines())) <= 100
    assert "torch" in imports


def test_what_it_says_of_a_model(tmp_path: Path) -> None:
    done = forked.mmpref(["doctor", "--model", TESTBED])
    assert done.returncode == 0, done.stderr
    for text in ("llava_next (tested)", "train in 4 bits", "time for 1,000", "estimates, no measurements", "one H100"):
        assert text in " ".join(done.stdout.split())
    (tmp_path / "config.json").write_text('{"model_type": "mllama"}')
    refused = forked.mmpref(["doctor", "--model", tmp_path])
    assert refused.returncode == 1
    assert "cross-attention" in refused.stderr
    absent = forked.mmpref(["doctor", "--model", "../nowhere"])
    assert "Cannot load the model ../nowhere: there is no such folder. Check the path" in absent.stderr


@pytest.mark.parametrize(
    ("words", "offers"),
    [("mmpref do", "doctor"), ("mmpref train --lim", "--limit"), ("mmpref list be", "benchmarks")],
)
def test_the_shell_completes(words: str, offers: str) -> None:
    asked = {"_MMPREF_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    done = mmpref(env={**os.environ, **asked})
    assert done.stdout.split() == [f"plain,{offers}"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_get_their_script(shell: str) -> None:
    done = mmpref(env={**os.environ, "_MMPREF_COMPLETE": f"{shell}_source"})
    assert "_mmpref_completion" in done.stdout
