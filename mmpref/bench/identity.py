"""What an evaluation is made of, pinned when it begins: answers are kept by sample, so all else must stay the same."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmpref.bench.benchmark import Sample
from mmpref.bench.cells import images_digest
from mmpref.bench.recipe import EvaluateRecipe
from mmpref.errors import ModelError
from mmpref.hub_cache import commit_named
from mmpref.hub_ids import is_commit
from mmpref.judges.named_files import local_digest
from mmpref.judges.pinned import annotator_commit
from mmpref.judges.resolve import endpoint_of
from mmpref.local_paths import names_file
from mmpref.log import warn
from mmpref.origins.model_files import SUFFIXES, digests, joint_digest
from mmpref.registry import resolve_path
from mmpref.run.directory import Run
from mmpref.run.inputs import refuse_changed_input, warn_unchecked
from mmpref.run.manifest import WEIGHTS
from mmpref.tables.table import Table
from mmpref.types import ModelRef, as_dicts

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
    began = run.pinned(_BEGAN)
    ref = _as_begun(run, ref, began)
    model, weights = _model(ref)
    identity: dict[str, Any] = {"model": model, "weights": weights, "adapter": _adapter(ref)}
    identity |= {"data": facts_of_data, "judge": _judge(judge, began)}
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
    ref = _as_begun(run, ref, pinned)
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
    identity["judge"] = _judge(judge, pinned)
    if judge and pinned.get("judge") and identity["judge"] is None:
        warn_unchecked(run.path, f"the judge {judge}", "it cannot be found")
    _refuse_other(run, pinned, identity)


def data_as_begun(run: Run) -> Mapping[str, Mapping[str, Any]]:
    """`data_facts` of each benchmark that a run began with: Hub datasets are read again at these commits. None of a run
    that begins."""
    return run.pinned(_BEGAN).get("data") or {}


def _as_begun(run: Run, ref: ModelRef, began: Mapping[str, Any]) -> ModelRef:
    """A model and its adapter at the commits that a run began with. It keeps to them whatever the Hub has now, which is
    warned of."""
    model, adapter = ((began.get(name) or {}).get("revision") for name in ("model", "adapter"))
    _warn_of_commits(run, ref.model, ref.revision, model)
    _warn_of_commits(run, ref.adapter, ref.adapter_revision, adapter)
    return dataclasses.replace(ref, revision=model or ref.revision, adapter_revision=adapter or ref.adapter_revision)


def _warn_of_commits(run: Run, repo: str | None, revision: str | None, at: str | None) -> None:
    if not repo or at in (None, revision) or endpoint_of(repo) or Path(resolve_path(repo)).exists():
        return
    if (now := commit_named(repo, revision)) and now != at:
        warn(
            f"{repo} has new commits since {run.path} was begun, which keeps to {str(at)[:8]}. Another --output takes "
            "it as it is now."
        )


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
    """The facts that say what data are: all but their licence, and their commit, which may be of other files."""
    if not isinstance(facts, Mapping):
        return facts
    return {key: value for key, value in facts.items() if key not in ("licence", "revision")}


def _model(ref: ModelRef) -> tuple[dict[str, Any], dict[str, str]]:
    """What identifies a model, and of a folder the SHA-256 of each file with weights."""
    from mmpref.origins.revisions import commit_of

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
    from mmpref.origins.revisions import adapter_facts

    if ref.adapter is None:
        return None
    if endpoint_of(ref.adapter):
        return {"id": ref.adapter, "revision": ref.revision, "weights": None}
    with _lookup_errors(ref.adapter):
        return adapter_facts(ref.adapter, ref.adapter_revision)


def _judge(spec: str | None, began: Mapping[str, Any]) -> str | None:
    """A digest of a folder or a file, or the commit of a model of the Hub: that with which the run began."""
    if spec is None:
        return None
    commit = began.get("judge")
    return local_digest(spec) or (str(commit) if is_commit(commit) else annotator_commit(spec))


@contextlib.contextmanager
def _lookup_errors(name: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ModelError(f"{name} cannot be found: {reason}", "Check --model and --adapter.") from error
