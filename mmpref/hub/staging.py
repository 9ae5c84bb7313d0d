"""What of a run is published: a staged copy of it, without anything of this machine.

The run directory stays as it is. The copy is symbolic links, and rewritten copies of the few files that name paths.
"""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi

from mmpref.errors import RunError
from mmpref.hub._local_files import CARD, IGNORE
from mmpref.hub._remote import Content
from mmpref.hub.cards.add_results import add_results, merge_model_card
from mmpref.hub.cards.chain import results_before_merging, results_of, rounds_text
from mmpref.hub.cards.dataset import STATISTICS, card_and_pictures
from mmpref.hub.cards.eval_results import EVAL_FILES, eval_files, published_data
from mmpref.hub.cards.merge import merge_own_text
from mmpref.hub.cards.merge_dataset import merge_dataset_card
from mmpref.hub.cards.model import CURVES, model_card
from mmpref.hub.cards.pictures import PATTERN
from mmpref.hub.cards.samples import FILES, samples_card
from mmpref.hub.evaluated_model import refuse_other_model
from mmpref.hub.leaderboards import leaderboards
from mmpref.hub.other_splits import refuse_breaking
from mmpref.hub.private import clean_json, clean_json_file, clean_text, local_folders, public
from mmpref.hub.published import dataset_address
from mmpref.hub.staged_files import ADAPTER_FILES, RECORDS_OF_WEIGHTS, WEIGHT_FILES, data_files, is_of_a_training
from mmpref.hub_ids import is_commit, is_hub_id
from mmpref.log import counted, logger
from mmpref.run.manifest import is_whole_model, read_manifest
from mmpref.run.results import RESAMPLES, RESULTS, Results
from mmpref.run.training_images import TRAINING_IMAGES
from mmpref.text_files import read_text

_EMPTY_CARD = """---
library_name: peft
pipeline_tag: image-text-to-text
tags: [vlm]
---

# {name}
"""


def stage_dataset(path: Path, manifest: dict[str, Any], stage: Path, repo_id: str) -> Content:
    """The data files of a dataset run, with their statistics.

    Raises:
        RunError: one is missing.
    """
    for entry in manifest["data"]:
        if not (path / entry["path"]).is_file():
            raise RunError(f"{path} lacks {entry['path']}, which its run.json names.", "Build the dataset again.")
        _link(path / entry["path"], stage / entry["path"])
    _write_json(stage / "run.json", public(manifest))
    report = json.loads((path / "report.json").read_text(encoding="utf-8"))
    _write_json(stage / "report.json", public(report, manifest))
    if (path / STATISTICS).is_file():
        _link(path / STATISTICS, stage / STATISTICS)
    card, pictures = card_and_pictures(path, manifest, repo_id)
    _write_card(path, stage, card)
    for name, picture in pictures.items():
        (stage / name).parent.mkdir(exist_ok=True)
        (stage / name).write_bytes(picture)
    splits = list(manifest.get("splits") or [manifest["recipe"]["split"]])
    return Content(
        stage,
        f"{counted(manifest['counts']['rows'], 'preference pair')}, split {' and '.join(splits)}",
        (*data_files(splits), PATTERN),
        merge_dataset_card,
        lambda change: refuse_breaking(replace(change, own_features=_schema_of(path, manifest))),
        guarded=data_files(splits),
        known_by=data_files(splits),
    )


def _schema_of(path: Path, manifest: Mapping[str, Any]) -> Any:
    import pyarrow.parquet as pq

    return pq.read_schema(path / manifest["data"][0]["path"])


def stage_adapter(
    path: Path,
    manifest: dict[str, Any],
    stage: Path,
    repo_id: str,
    base_hub_id: str | None,
    merged: Path | None,
    chain: Path | None = None,
) -> Content:
    """A training run's adapter, the model that it was merged into, or one that was trained in full.

    Args:
        chain: the chain of rounds that the run is the kept one of; the card shows all of them.
        base_hub_id: the Hub id that stands for a base model that is local here.
        merged: the folder of the model.
    """
    base = manifest["model"]["id"]
    on_hub = is_hub_id(base) and is_commit(manifest["model"].get("revision"))
    named = base_hub_id or (base if on_hub else None)
    revision = manifest["model"].get("revision") if named == base else None
    if named is None and not base.startswith("pkg:"):
        logger.warning(
            "Warning: the card names no base model, since %s is a folder of this machine. If it is on the Hub too, say "
            "where: --base-hub-id=OWNER/NAME.",
            base,
        )
    folders = local_folders(path, base)
    source = merged or path
    for name in _files_of(source) if merged else _written_by_training(path, manifest):
        file = source / name
        if file.name == "adapter_config.json":  # of checkpoints too
            config = json.loads(file.read_text(encoding="utf-8"))
            config |= {"base_model_name_or_path": named, "revision": revision}
            _write_json(stage / name, clean_json(config, folders))
        elif (clean := clean_json_file(file, folders, manifest, None if on_hub else base)) is not None:
            _write(stage / name, clean)
        else:
            _link(file, stage / name)
    content = public(manifest)
    if base_hub_id or not on_hub:
        shown = base_hub_id or (base if base.startswith("pkg:") else None)
        content["model"] = {**content["model"], "id": shown, "revision": revision}
        content["recipe"] = {**content["recipe"], "model": shown, "revision": revision}
    _write_json(stage / "run.json", content)
    results = Results.from_dict(_public_results(path, manifest)) if (path / RESULTS).is_file() and not merged else None
    rounds = ""
    if chain:
        rounded = read_manifest(chain)
        rounds = rounds_text(chain, rounded)
        if merged:
            rounds += f"\n\n{results_before_merging(chain, rounded['kept'])}"
        else:
            results = results_of(chain, rounded["kept"])
    card = model_card(
        manifest,
        results,
        hub_id=repo_id,
        base_hub_id=base_hub_id,
        merged=merged is not None,
        rounds=rounds,
        curves=(stage / CURVES).is_file(),
        digests=(stage / TRAINING_IMAGES).is_file(),
    )
    # A chain's own card has the adapter's results, which are not those of the merged model.
    _write_card(chain or path, stage, card, ("model-index",) if merged else ())
    what = "Merged model" if merged else "Fine-tuned model" if is_whole_model(manifest) else "LoRA adapter"
    return Content(
        stage,
        f"{what}, {manifest['recipe']['method']}",
        ADAPTER_FILES,
        merge_model_card,
        guarded=ADAPTER_FILES,
        known_by=WEIGHT_FILES,
        goes_with=(EVAL_FILES, RECORDS_OF_WEIGHTS),
    )


def _files_of(folder: Path) -> list[str]:
    """What may be published of the files of a model's folder, but the card and the manifest."""
    names = (file.relative_to(folder).as_posix() for file in sorted(folder.rglob("*")) if file.is_file())
    own = (CARD, "run.json")
    return [name for name in names if name not in own and not any(fnmatch.fnmatchcase(name, p) for p in IGNORE)]


def _written_by_training(path: Path, manifest: Mapping[str, Any]) -> list[str]:
    """Those that training wrote; what else somebody put into the run is named, and stays."""
    names, own_code = _files_of(path), bool(manifest["recipe"].get("trust_remote_code"))
    written = [name for name in names if is_of_a_training(name, own_code)]
    if others := [name for name in names if name not in set(written)]:
        shown = dict.fromkeys(f"{name.split('/')[0]}/" if "/" in name else name for name in others)
        logger.warning(
            "Warning: training did not write %s in %s: not published. Upload by other means what belongs to the model.",
            ", ".join(shown),
            path,
        )
    return written


def stage_evaluation(
    path: Path, manifest: dict[str, Any], stage: Path, repo_id: str, push_samples: bool, api: HfApi
) -> Content:
    """An evaluation's results, which go into the card of the model that was evaluated, and on leaderboards.

    Raises:
        UsageError: they are another model's or adapter's than the repository's.
    """
    evaluation = _public_results(path, manifest)
    results = Results.from_dict(evaluation)
    refuse_other_model(path, manifest, repo_id, api)
    name = repo_id.split("/")[1]
    _write(stage / CARD, _EMPTY_CARD.format(name=name))
    folder = f"evaluation/{manifest['recipe_hash'][:8]}"
    records = f"{api.endpoint}/{repo_id}/tree/main/{folder}" if push_samples else dataset_address(path)
    tasks = leaderboards(published_data(results), api, str(api.token))
    for file, content in eval_files(results, tasks, records).items():
        _write(stage / file, content)
    if push_samples:
        _write_json(stage / folder / RESULTS, evaluation)
        _write_json(stage / folder / "run.json", public(manifest))
        _stage_resamples(path, stage / folder)
        for record in sorted((path / "samples").glob("*.parquet")):
            _link(record, stage / folder / "samples" / record.name)
    names = ", ".join(dict.fromkeys(value.benchmark for value in results.values))
    return Content(
        stage,
        f"Results of {names}",
        merge_card=lambda remote, ours: add_results(ours if remote is None else remote, results, name),
    )


def show_results(path: Path, card: Path, name: str) -> None:
    """Put the results of an evaluation into the staged card of what was evaluated, as publishing them does.

    Args:
        path: of the evaluation.
        name: of the model.
    """
    results = Results.from_dict(_public_results(path, read_manifest(path)))
    _write(card, add_results(read_text(card), results, name))


def stage_samples(path: Path, manifest: dict[str, Any], stage: Path, repo_id: str) -> Content:
    """An evaluation's per-sample records, as a dataset of their own.

    Raises:
        RunError: there are none.
    """
    files = sorted((path / "samples").glob("*.parquet"))
    if manifest["command"] != "evaluate" or not files:
        raise RunError(f"{path} has no per-sample records.", "They are kept by `mmpref evaluate`.")
    for file in files:
        _link(file, stage / "samples" / file.name)
    evaluation, manifest = _public_results(path, manifest), public(manifest)
    _write_json(stage / RESULTS, evaluation)
    _write_json(stage / "run.json", manifest)
    _stage_resamples(path, stage)
    card = samples_card(files, manifest, Results.from_dict(evaluation), repo_id)
    _write(stage / CARD, clean_text(card, local_folders(path)))
    return Content(
        stage,
        "Per-sample records of an evaluation",
        (FILES, RESAMPLES),
        check=refuse_breaking,
        guarded=(FILES,),
        known_by=(FILES,),
    )


def _stage_resamples(path: Path, stage: Path) -> None:
    """What others are tested against the evaluation by, where the run kept it."""
    if (path / RESAMPLES).is_file():
        _link(path / RESAMPLES, stage / RESAMPLES)


def _public_results(path: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    return public(json.loads((path / RESULTS).read_text(encoding="utf-8")), manifest)


def _write_card(path: Path, stage: Path, fresh: str, gone: Sequence[str] = ()) -> None:
    """The fresh card, with what the owner wrote outside of our markers in the run's README.md.

    Args:
        gone: metadata of that one that do not go along.
    """
    file = path / CARD
    card = merge_own_text(read_text(file) if file.is_file() else None, fresh, gone)
    _write(stage / CARD, clean_text(card, local_folders(path)))


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source.resolve())


def _write(target: Path, content: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(content, encoding="utf-8")


def _write_json(target: Path, content: Any) -> None:
    _write(target, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
