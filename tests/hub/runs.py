"""Small run directories as the commands leave them, with texts that try to break a card."""

from __future__ import annotations

import functools
import io
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from PIL import Image

from mmpref.data.shards import as_row, schema
from mmpref.data.stats import build_report
from mmpref.types import Example, ImageData, Message, Pair, Skip

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HOSTILE = (
    "---\nlicense: mit\n---\n# Owned\n<script>alert(1)</script> <img src=x onerror=y> ![x](http://evil.example/p.png) "
    "[a](javascript:b) https://evil.example www.evil.example me@evil.example | cell | ``` `code` <!-- mmpref:end --> "
    "&lt;b&gt; {{ 7 * 7 }} {% raw %} $x$ \u202egnp.exe\x00"
)
RECIPE_HASH = "ab" * 32


def _image(colour: tuple[int, int, int]) -> ImageData:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 3), colour).save(buffer, "PNG")
    return ImageData(buffer.getvalue(), "scene.png")


def pairs() -> list[Pair]:
    """Three pairs: hostile, Chinese, and very long."""
    red, blue = _image((255, 0, 0)), _image((0, 0, 255))

    def pair(
        name: str, prompt: str, chosen: str, rejected: str, similarity: float, tries: int, *images: ImageData
    ) -> Pair:
        example = Example(name, images or (red,), (Message("user", prompt),), chosen, f"row-{name}")
        return Pair(example, rejected, "bdhs", similarity, tries, 7)

    long = "There is a dog on the grass and it is happy. " * 400
    return [
        pair(HOSTILE, HOSTILE, f"{HOSTILE} a cat", f"{HOSTILE} a dog", 0.91, 1),
        pair("zh", "图里有什么？", "桌子上有一只猫。", "桌子上有一只狗。", 0.5, 2, red, blue),
        pair(
            "long", "Describe the image.", long + "A cat sits in the tree.", long + "A bird sits in the tree.", 0.969, 3
        ),
    ]


def _write(file: Path, rows: Sequence[Pair], second: str | None) -> None:
    import pyarrow as pa

    table = pa.Table.from_pylist([as_row(pair) for pair in rows], schema=schema())
    if second:
        turns = [[{"role": "assistant", "content": second}]] * len(rows)
        table = table.append_column("rejected_policy", pa.array(turns, schema().field("rejected").type))
    pq.write_table(table, file)


@functools.cache
def _report(second: str | None) -> str:
    """Of these pairs, whatever their split and methods: to compare the words of the very long one takes long."""
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder, "train-00000-of-00001.parquet"), pairs(), second)
        return json.dumps(build_report(Path(folder), ["train"], [Skip("9", "no-image")], 5))


def dataset_run(
    path: Path, split: str = "train", methods: Sequence[str] = ("bdhs",) * 3, second: str | None = None, **changes: Any
) -> dict[str, Any]:
    """Write a finished dataset run; its manifest.

    Args:
        methods: that made the pairs.
        second: a second rejected answer of each.
        changes: replace manifest entries.
    """
    (path / "data").mkdir(parents=True)
    rows = [replace(pair, method=method) for pair, method in zip(pairs(), methods, strict=True)]
    file = path / "data" / f"{split}-00000-of-00001.parquet"
    _write(file, rows, second)
    (path / "report.json").write_text(_report(second))
    manifest: dict[str, Any] = {
        "command": "build-dataset",
        "recipe": {
            "model": "llava-hf/llava-v1.6-vicuna-7b-hf",
            "source": "me/sft-set",
            "method": "bdhs",
            "revision": None,
            "source_revision": None,
            "source_config": None,
            "split": split,
            "image_root": ["/home/someone/images"],
            "limit": 4,
            "seed": 7,
            "block_size": 32,
            "dtype": "auto",
            "trust_remote_code": False,
            "builder": {
                "rho_th": 0.99,
                "iterations": 5,
                "noise_steps": None,
                "similarity_model": "it's/a b",
                "similarity_threshold": 0.97,
            },
        },
        "recipe_hash": RECIPE_HASH,
        "model": {"id": "llava-hf/llava-v1.6-vicuna-7b-hf", "revision": COMMIT},
        "source": {
            "id": "me/sft-set",
            "split": "train",
            "revision": COMMIT,
            "fingerprint": COMMIT,
            "licence": "cc-by-4.0",
        },
        "method": "bdhs",
        "counts": {"rows": len(rows), "skipped": {"no-image": 1}},
        "data": [{"path": f"data/{split}-00000-of-00001.parquet", "sha256": "0" * 64, "rows": len(rows)}],
        "versions": {},
        "seconds": 1.0,
        **changes,
    }
    (path / "run.json").write_text(json.dumps(manifest))
    return manifest


def adapter_manifest(**changes: Any) -> dict[str, Any]:
    """The manifest of a finished training; `changes` replace entries."""
    return {
        "command": "train",
        "recipe": {
            "model": "llava-hf/llava-v1.6-vicuna-7b-hf",
            "dataset": ["me/bdhs-5k", "/home/someone/more.jsonl"],
            "method": "dpo",
            "revision": None,
            "split": "train",
            "limit": None,
            "seed": 0,
            "dtype": "auto",
            "trust_remote_code": False,
            "annotator": None,
            "lora": {"r": 128, "alpha": 256, "dropout": 0.0},
            "train_projector": True,
            "projector_learning_rate": 2e-06,
            "loss": {"beta": 0.1},
            "trainer": {"learning_rate": 1e-06, "num_train_epochs": 3},
        },
        "recipe_hash": RECIPE_HASH,
        "model": {"id": "llava-hf/llava-v1.6-vicuna-7b-hf", "revision": COMMIT, "licence": "llama2"},
        "method": "dpo",
        "datasets": [
            {"id": "me/bdhs-5k", "revision": COMMIT, "fingerprint": COMMIT, "rows": 5000},
            {"id": "/home/someone/more.jsonl", "revision": None, "fingerprint": "sha256:12", "rows": 10},
        ],
        "modules": {"language_model": 224, "projector": 2, "elsewhere": 0},
        "counts": {"rows": 5010, "skipped": {}},
        "logged_reward": "beta (0.1) times the answer's log-ratio to the reference",
        "final": {"loss": 0.4321, "accuracy": 0.875, "margin": 1.25},
        **changes,
    }


def evaluation(benchmark: str = "pope", adapter: float = 0.891, asked: dict[str, Any] | None = None) -> dict[str, Any]:
    """The ``results.json`` of base and adapter on one benchmark, by default as it was published; `asked` replaces facts
    of that."""

    def result(model: str, metric: str, value: float, higher: bool) -> dict[str, Any]:
        return {
            "model": model,
            "benchmark": benchmark,
            "split": "random",
            "metric": metric,
            "value": value,
            "n": 3000,
            "images": 500,
            "low": value - 0.01,
            "high": value + 0.01,
            "parse_failures": 2 if model == "base" else 0,
            "missing": 0,
            "higher_is_better": higher,
            "headline": metric == "accuracy",
            "data": {"id": "lmms-lab/POPE", "revision": COMMIT, "fingerprint": COMMIT},
        }

    asked = {
        "benchmark": benchmark,
        "label": benchmark,
        "official": True,
        "data": {"id": "lmms-lab/POPE", "split": "test", "revision": COMMIT, "fingerprint": COMMIT, "licence": None},
        "questions": 9000,
        "images": 500,
        "samples": f"sha256:{'0' * 64}",
        "changed": {},
        "hallucination": True,
        **(asked or {}),
    }
    return {
        "asked": {benchmark: asked},
        "models": [
            {"name": "base", "ref": {"model": "llava-hf/llava-v1.6-vicuna-7b-hf", "revision": COMMIT}},
            {"name": "adapter", "ref": {"model": "llava-hf/llava-v1.6-vicuna-7b-hf", "adapter": "me/vlm-bdhs"}},
        ],
        "results": [
            result("base", "accuracy", 0.864, True),
            result("base", "yes_ratio", 0.44, False),
            result("adapter", "accuracy", adapter, True),
            result("adapter", "yes_ratio", 0.5, False),
        ],
        "differences": [
            {
                "benchmark": benchmark,
                "split": "random",
                "metric": "accuracy",
                "value": adapter - 0.864,
                "low": adapter - 0.864 - 0.015,
                "high": adapter - 0.864 + 0.015,
                "n": 3000,
                "p": 0.001,
            },
        ],
    }


def adapter_run(path: Path, base: str, revision: str | None) -> dict[str, Any]:
    """Write a finished adapter run whose files name paths of this machine; its manifest."""
    path.mkdir(parents=True)
    manifest = adapter_manifest(model={"id": base, "revision": revision})
    manifest["recipe"]["model"] = base
    config = {"base_model_name_or_path": base, "revision": revision, "peft_type": "LORA", "r": 2}
    (path / "adapter_config.json").write_text(json.dumps(config))
    (path / "adapter_model.safetensors").write_bytes(b"\x00weights")
    (path / "tokenizer.json").write_text('{"model": {}}')
    (path / "tokenizer_config.json").write_text(json.dumps({"name_or_path": f"{path}/tokenizer"}))
    (path / "log.jsonl").write_text('{"step": 1, "loss": 0.69}\n')
    (path / "training.png").write_bytes(b"\x89PNG")
    (path / ".mmpref").mkdir()
    (path / ".mmpref" / "recipe.json").write_text("{}")
    (path / "run.json").write_text(json.dumps(manifest))
    return manifest


def whole_model_run(path: Path, weights: bytes = b"\x00weights") -> dict[str, Any]:
    """Write a finished run of full fine-tuning; its manifest."""
    path.mkdir(parents=True)
    manifest = adapter_manifest(model={"id": "me/base", "revision": COMMIT})
    manifest["recipe"]["tuning"] = "full"
    (path / "config.json").write_text('{"model_type": "llava"}')
    (path / "model.safetensors").write_bytes(weights)
    (path / "run.json").write_text(json.dumps(manifest))
    return manifest


def evaluation_run(path: Path, adapter: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Write a finished evaluation run, whose manifest says `more`; its results."""
    (path / "samples").mkdir(parents=True)
    results = evaluation()
    (path / "results.json").write_text(json.dumps(results))
    (path / "samples" / "base-pope.parquet").write_bytes(b"PAR1")
    data = {"pope": {"fingerprint": COMMIT, "samples": 9}}
    facts = {"recipe": {"model": "x/y"}, "recipe_hash": RECIPE_HASH, "adapter": adapter, "data": data}
    manifest = {"command": "evaluate", **facts}
    (path / "run.json").write_text(json.dumps(manifest | more))
    return results
