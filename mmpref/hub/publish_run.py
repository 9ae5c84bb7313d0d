"""Publishing a finished run: staged, by one commit, with a tag; where it went is recorded in the run."""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants

from mmpref.errors import RunError, UsageError
from mmpref.hub._local_files import CARD, LocalFile
from mmpref.hub._remote import Content
from mmpref.hub.access import RepoType, check_repo_id, usual_token
from mmpref.hub.cards.chain import kept_folder
from mmpref.hub.goes_along import tell_what_goes_along
from mmpref.hub.licence_check import check_licences
from mmpref.hub.private import refuse_secrets
from mmpref.hub.publish import publish_folder
from mmpref.hub.published import RECORD, Published, entries_of, said_before
from mmpref.hub.seen_by_others import content_of, refuse_content, sources_of, warn_of_names
from mmpref.hub.staging import show_results, stage_adapter, stage_dataset, stage_evaluation, stage_samples
from mmpref.hub.target import find_target
from mmpref.hub.training_data import as_published
from mmpref.licence import licence_of_card, with_licence
from mmpref.log import logger
from mmpref.origins.earlier_data import EARLIER, earlier_data
from mmpref.run.files import content_address, disk_errors, write_atomic
from mmpref.run.manifest import STATE, read_manifest
from mmpref.run.scratch import scratch

KINDS: dict[str, RepoType] = {"build-dataset": "dataset", "train": "model", "evaluate": "model", "iterate": "model"}
"""Commands whose runs can be published, and the kind of repository they go to."""


def kind_of(path: Path) -> RepoType:
    """``dataset`` or ``model``: where a finished run belongs.

    Raises:
        RunError: no finished run, or one that cannot be published.
    """
    command = read_manifest(path)["command"]
    if command not in KINDS:
        raise RunError(f"{path} is a run of `{command}`, which makes nothing to publish.")
    return KINDS[command]


def kept_run(path: Path) -> Path:
    """The run that is published: of a chain of rounds that of the adapter which it keeps, else the run itself.

    Raises:
        RunError: no finished run, or a chain that keeps no round.
    """
    manifest = read_manifest(path)
    if manifest["command"] != "iterate":
        return path
    if not manifest["kept"]:
        raise RunError(f"{path} keeps no round: none beat what it began with.", "There is nothing to publish.")
    return kept_folder(path, manifest)


def publish_run(
    path: Path,
    hub_id: str | None,
    *,
    private: bool = False,
    create_pr: bool = False,
    base_hub_id: str | None = None,
    push_samples: bool = False,
    samples_only: bool = False,
    accept_license: bool = False,
    accept_private: bool = False,
    license: str | None = None,
    replace: bool = False,
    merged: Path | None = None,
    token: str | None = None,
    endpoint: str | None = None,
) -> Published:
    """Publish a finished run directory by one commit; publishing it again makes none.

    Args:
        path: the run. A dataset goes to a dataset repository, an adapter to a model repository; of an evaluation the
            results are merged into the card of the model repository; of a chain of rounds the adapter that it keeps is
            published, with a card that shows all of them.
        hub_id: ``namespace/name``; None takes ``<whoami>/<folder name>``.
        private: make a new repository private.
        create_pr: open a pull request instead of committing.
        base_hub_id: the Hub id that stands for a base model that is local here.
        accept_license: publish although the licence of a source, or of the data of a training, may forbid it.
        accept_private: publish for all records of a benchmark, or a model with the weights of a base, that is private
            or gated.
        license: the licence of a dataset's source, or of the data of a training, where they state none themselves.
        replace: replace data of another run that the repository holds.
        merged: of an adapter, the folder of the model that it was merged into, which is published in its place.
        push_samples: of an evaluation, also push ``results.json`` and the per-sample records.
        samples_only: of an evaluation, publish the per-sample records as a dataset of their own.
        token, endpoint: by default from the usual places.

    Raises:
        UsageError: an id that is not one, or results of another adapter than the repository's.
        RunError: not a finished run.
        HubError: a licence that may forbid it, something private that would be public, no access, a broken card,
            something of this machine or a token in the files, or the Hub refuses.
    """
    kind = "dataset" if samples_only else kind_of(path)
    named, kept = path.resolve().name, kept_run(path)
    path, chain = kept, path if kept != path else None
    before = said_before(path)
    manifest, accepted = _checked_manifest(path, license, accept_license, endpoint, before.get("license"))
    now = {"base_hub_id": base_hub_id, "license": license}
    said = before | {name: value for name, value in now.items() if value is not None}
    base_hub_id = said.get("base_hub_id")
    tell_what_goes_along(merged or path, manifest)
    if base_hub_id is not None:
        check_repo_id(base_hub_id)
    api = HfApi(endpoint=endpoint or constants.ENDPOINT, token=token or usual_token())
    is_evaluation = manifest["command"] == "evaluate" and not samples_only
    target = find_target(hub_id, kind, default_name=named, private=private, token=token, endpoint=endpoint)
    repo_id = target.repo_id
    if not target.private:
        records = samples_only or (is_evaluation and push_samples)
        held = content_of(manifest, base_hub_id, records, merged is not None)
        refuse_content(held, repo_id, api, accept_private)
        shown = [source for source in sources_of(manifest, base_hub_id) if source not in held]
        warn_of_names(manifest, shown, kind, api)
    with scratch("publish") as stage:
        with disk_errors(stage):
            if is_evaluation:
                content = stage_evaluation(path, manifest, stage, repo_id, push_samples, api)
            else:
                content = _stage(path, manifest, stage, repo_id, samples_only, base_hub_id, merged, chain)
                if kind == "model" and target.run not in (None, manifest["recipe_hash"]):
                    content = content.over_another_run()
        refuse_secrets(stage)
        logger.info("Publishing %s to %s.", path, target.sentence)
        if not is_evaluation:
            content = dataclasses.replace(content, run=manifest["recipe_hash"], replace=replace)
        published = publish_folder(
            content,
            repo_id,
            kind,
            private=private,
            create_pr=create_pr,
            tag_prefix=f"mmpref-{manifest['recipe_hash'][:8]}-",
            token=token,
            endpoint=endpoint,
        )
        pairs = _facts_of_pairs(content) if manifest["command"] == "build-dataset" else {}
    _record(path, published, accepted, {**pairs, **said})
    return published


def write_run(
    path: Path,
    repo_id: str,
    folder: Path,
    *,
    base_hub_id: str | None = None,
    accept_license: bool = False,
    license: str | None = None,
    merged: Path | None = None,
    results: Path | None = None,
) -> list[LocalFile]:
    """Write what `publish_run` would publish of a run as a new repository into a folder, and send nothing. Of an
    evaluation that is its per-sample records, or with ``results`` the model that was evaluated.

    Args:
        results: of an evaluation of this training run, which its card shows then.
        folder: as `refuse_folder` has it; it is there whole or not at all.

    Raises:
        as `publish_run` and `refuse_folder`; RunError too where it cannot be written.
    """
    refuse_folder(path, folder)
    kept = kept_run(path)
    path, chain = kept, path if kept != path else None
    before = said_before(path)
    manifest, _ = _checked_manifest(path, license, accept_license, before=before.get("license"))
    base_hub_id = base_hub_id or before.get("base_hub_id")
    tell_what_goes_along(merged or path, manifest)
    for one in filter(None, (repo_id, base_hub_id)):
        check_repo_id(one)
    with scratch("publish") as stage, disk_errors(folder, "Choose another --to-folder."), _whole(folder) as beside:
        samples_only = manifest["command"] == "evaluate"
        content = _stage(path, manifest, stage, repo_id, samples_only, base_hub_id, merged, chain)
        if results:
            show_results(results, stage / CARD, repo_id.split("/")[1])
        refuse_secrets(stage)
        for file in content.files.values():
            (beside / file.path).parent.mkdir(parents=True, exist_ok=True)
            if file.path == CARD:
                (beside / CARD).write_text(content.merge_card(None, file.text()), encoding="utf-8")
            else:
                shutil.copyfile(stage / file.path, beside / file.path)
        return list(content.files.values())


def refuse_folder(path: Path, folder: Path) -> None:
    """See that what is published of a run can be written to a folder.

    Raises:
        RunError: it holds something, is no folder, or lies in the run, which would be published with it.
    """
    if folder.resolve().is_relative_to(path.resolve()):
        raise RunError(f"{folder} lies in the run, and would be published with it.", "Name a folder outside of it.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise RunError(f"{folder} holds something already.", "Name a folder that is empty or not there.")


@contextlib.contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A new folder beside, which takes the folder's place in the end; nothing is left of it where that fails."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    beside.mkdir()
    try:
        yield beside
        beside.replace(folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _checked_manifest(
    path: Path,
    license: str | None,
    accept_license: bool,
    endpoint: str | None = None,
    before: str | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """What a run says of itself, with where its data were published and their licence, and the licences that somebody
    accepted."""
    manifest = read_manifest(path)
    if earlier := earlier_data(manifest):
        manifest[EARLIER] = earlier
    manifest = as_published(manifest, endpoint or constants.ENDPOINT)
    if "source" in manifest:
        source = manifest["source"] = with_licence(manifest["source"], license, before)
    elif trained_on := [*(manifest.get("datasets") or ()), *manifest.get(EARLIER, ())]:
        named, own = " + ".join(entry["id"] for entry in trained_on), len(manifest.get("datasets") or ())
        source = with_licence({"id": named, "licence": None, "sources": trained_on}, license, before)
        manifest["datasets"] = source["sources"][:own]
        if earlier:
            manifest[EARLIER] = source["sources"][own:]
    elif license is not None:
        raise UsageError(f"{path} was made of no data that could have a licence.", "Leave --license out.")
    else:
        return manifest, []
    return manifest, check_licences(source, accept_license)


def _stage(
    path: Path,
    manifest: dict[str, Any],
    stage: Path,
    repo_id: str,
    samples_only: bool,
    base_hub_id: str | None,
    merged: Path | None,
    chain: Path | None,
) -> Content:
    """A dataset, an adapter or the records of an evaluation, as they stand in a repository of their own."""
    if samples_only:
        return stage_samples(path, manifest, stage, repo_id)
    if kind_of(path) == "dataset":
        return stage_dataset(path, manifest, stage, repo_id)
    return stage_adapter(path, manifest, stage, repo_id, base_hub_id, merged, chain)


def _facts_of_pairs(pairs: Content) -> dict[str, Any]:
    """The `mmpref.tables.table.Table.fingerprint` that the run's folder has in training, of each split, and the licence
    that their card states."""
    files = sorted(pairs.files.values(), key=lambda file: file.path)
    fingerprints = [
        content_address((file.path, file.sha256) for file in files if fnmatch.fnmatchcase(file.path, pattern))
        for pattern in pairs.guarded
    ]
    licence = licence_of_card(pairs.files[CARD].text())
    return {"fingerprints": fingerprints, **({} if licence in (None, "unknown") else {"licence": licence})}


def _record(path: Path, published: Published, accepted_licences: Sequence[str], more: Mapping[str, Any]) -> None:
    """Note in the run's state where it is; it has its ``run.json``, which holds what does not depend on that."""
    file = path / STATE / RECORD
    entry = {key: getattr(published, key) for key in ("url", "commit", "tag", "pull_request_url")}
    if accepted_licences:
        entry["accepted_licences"] = accepted_licences
    entry |= more
    try:
        entries = entries_of(path)
        target = (published.url, published.pull_request_url)
        others = [other for other in entries if (other["url"], other["pull_request_url"]) != target]
        if entry not in entries:
            write_atomic(file, json.dumps([*others, entry], indent=2) + "\n")
    except (RunError, OSError, ValueError, TypeError, KeyError) as error:
        logger.warning("Warning: the commit could not be recorded in %s: %s", file, error)
