"""What an evaluation is made of, pinned when it begins: answers are kept by sample, so all else must stay the same."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmpref.bench.benchmark import Sample
from mmpref.bench.cells import images_digest
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.errors import ModelError
from mmpref.judges.named_files import local_digest
from mmpref.judges.pinned import annotator_commit
from mmpref.judges.resolve import endpoint_of
from mmpref.local_paths import names_file
from mmpref.registry import resolve_path
from mmpref.run.directory import Run
from mmpref.run.inputs import refuse_changed_input, warn_unchecked
from mmpref.run.manifest import WEIGHTS
from mmpref.tables.table import Table
from mmpref.types import ModelRef, as_dicts
from mmpref.vlm.model_files import SUFFIXES, digests, joint_digest

_BEGAN = "began"
"""Name of the facts that a run pins."""


def pin_identity(
    run: Run, ref: ModelRef, data: Mapping[str, Mapping[str, Any]], judge: str | None = None
) -> dict[str, Any]:
    """Pin the base, the adapter, the data and the judge of a run, or check that they are those that it began with.

    Args:
        ref: as the recipe has it.
        data: `data_facts` of each benchmark.
        judge: who judges, as the recipe has it.

    Returns:
        ``model`` (id, commit, and for a folder a hash of its files), ``weights`` (of a folder: the SHA-256 of each file
        with weights, by its name), ``adapter`` (id, commit, hash of its weights, and for a folder of its configuration;
        None where there is none), ``data``, and ``judge`` (the commit of a model of the Hub, a digest of a folder or a
        file; None of anybody else).

    Raises:
        ModelError: no such model or adapter.
        RunError: something has changed since the run began.
    """
    facts_of_data = {name: dict(facts) for name, facts in data.items()}
    model, weights = _model(ref)
    adapter = _adapter(ref)
    identity = {"model": model, "weights": weights, "adapter": adapter, "data": facts_of_data, "judge": _judge(judge)}
    _refuse_other(run, run.pin(_BEGAN, identity), identity)
    return identity


def refuse_other_identity(
    run: Run, ref: ModelRef, data: Mapping[str, Mapping[str, Any]], judge: str | None = None
) -> None:
    """Check that they are those that a finished run began with; it is warned of a base, an adapter or a judge that
    cannot be found any more.

    Args:
        ref, judge: as of `pin_identity`.
        data: of the benchmarks whose data could be read again.

    Raises:
        RunError: something has changed.
    """
    identity: dict[str, Any] = {"data": data}
    pinned = run.pinned(_BEGAN)
    for name, look, where in (("model", _model, ref.model), ("adapter", _adapter, ref.adapter)):
        if where and _was_folder(pinned.get(name)) and not Path(resolve_path(where)).exists():
            # A name that is a folder's no more is not asked for on the Hub.
            warn_unchecked(run.path, f"the {name} {where}", "it is not there")
            continue
        try:
            found = look(ref)
        except ModelError as error:
            warn_unchecked(run.path, f"the {name} {where}", error.message)
        else:
            identity[name] = found[0] if isinstance(found, tuple) else found
    identity["judge"] = _judge(judge)
    if judge and pinned.get("judge") and identity["judge"] is None:
        warn_unchecked(run.path, f"the judge {judge}", "it cannot be found")
    _refuse_other(run, pinned, identity)


def _was_folder(facts: Mapping[str, Any] | None) -> bool:
    """Whether what a run pinned of a model (``files``) or an adapter (``weights``) was read from a folder."""
    return bool(facts and (facts.get("files") or (facts.get("weights") and not facts.get("revision"))))


def _refuse_other(run: Run, pinned: Mapping[str, Any], identity: Mapping[str, Any]) -> None:
    """
    Args:
        identity: what is known of it.
    """
    changed = [name for name in ("model", "adapter") if name in identity and pinned.get(name) != identity[name]]
    if identity["judge"] not in (None, pinned.get("judge") or identity["judge"]):
        changed.append("judge")
    of_data, data = pinned.get("data", {}), identity["data"]
    changed += [f"data of {name}" for name, facts in data.items() if _content(of_data.get(name)) != _content(facts)]
    if changed:
        refuse_changed_input(run.path, f"The {' and the '.join(changed)} has changed")


def ref_of(recipe: EvaluateRecipe) -> ModelRef:
    """Whom a recipe asks."""
    revision = recipe.endpoint_revision if recipe.endpoint else recipe.revision
    return ModelRef(recipe.model, revision, recipe.adapter, recipe.adapter_revision)


def data_facts(table: Table, samples: Sequence[Sample], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What identifies a benchmark's questions and their scoring: the table's facts, a hash of the samples with their
    images (which a table's own fingerprint leaves out where it only names them), and of files that settings name."""
    digest = hashlib.sha256()
    for sample in samples:
        text = json.dumps([sample.id, sample.image_id, as_dicts(sample.messages), sample.reference], sort_keys=True)
        digest.update(images_digest(sample.images) + hashlib.sha256(text.encode()).digest())
    paths = {name: resolve_path(value) for name, value in settings.items() if name != "data" and isinstance(value, str)}
    files = {name: joint_digest(digests([Path(path)])) for name, path in sorted(paths.items()) if names_file(path)}
    return {**table.facts(), "samples": f"sha256:{digest.hexdigest()}", "files": files}


def _content(facts: Any) -> Any:
    """The facts that say what data are: all but their licence."""
    return {key: value for key, value in facts.items() if key != "licence"} if isinstance(facts, Mapping) else facts


def _model(ref: ModelRef) -> tuple[dict[str, Any], dict[str, str]]:
    """What identifies a model, and of a folder the SHA-256 of each file with weights."""
    from mmpref.vlm.revisions import commit_of

    if endpoint_of(ref.model):  # which says no more of itself
        return {"id": ref.model, "revision": ref.revision, "files": None}, {}
    with _lookup_errors(ref.model):
        commit = commit_of(ref.model, ref.revision)
        folder = Path(resolve_path(ref.model))
        found, files = {}, None
        if commit is None and folder.is_dir():
            found = digests(sorted(file for file in folder.iterdir() if file.suffix in SUFFIXES and file.is_file()))
            files = joint_digest(found)
    weights = {name: digest for name, digest in found.items() if name.endswith(WEIGHTS)}
    return {"id": ref.model, "revision": commit or ref.revision, "files": files}, weights


def _adapter(ref: ModelRef) -> dict[str, Any] | None:
    from mmpref.vlm.revisions import adapter_facts

    if ref.adapter is None:
        return None
    if endpoint_of(ref.adapter):
        return {"id": ref.adapter, "revision": ref.revision, "weights": None}
    with _lookup_errors(ref.adapter):
        return adapter_facts(ref.adapter, ref.adapter_revision)


def _judge(spec: str | None) -> str | None:
    return (local_digest(spec) or annotator_commit(spec)) if spec else None


@contextlib.contextmanager
def _lookup_errors(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"{name} cannot be found: {reason}", "Check --model and --adapter.") from error
