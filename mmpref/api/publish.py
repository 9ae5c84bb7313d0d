"""`mmpref.publish`: a finished run on the Hugging Face Hub."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from mmpref.api.options import NameOrPath, as_path
from mmpref.api.results import Publication, Staged
from mmpref.errors import UsageError
from mmpref.hub_ids import repo_id
from mmpref.log import logger

if TYPE_CHECKING:
    from mmpref.hub.access import RepoType

NO_ID = "Where {run} is to be published is not named."


def publish(
    run: NameOrPath,
    *,
    hub_dataset_id: str | None = None,
    hub_model_id: str | None = None,
    private: bool = False,
    create_pr: bool = False,
    base_hub_id: str | None = None,
    merge: bool = False,
    push_samples: bool = False,
    license: str | None = None,
    accept_license: bool = False,
    accept_private: bool = False,
    replace: bool = False,
    space: bool = False,
    collection: str | None = None,
    new_version_of: str | None = None,
) -> Publication:
    """Publish a finished run: a dataset, an adapter, or an evaluation's results; ``mmpref publish``.

    One commit; publishing the same again makes none. An evaluation is merged into the adapter's card. Of a chain of
    rounds the adapter that it keeps is published, and its card shows all rounds. The token is ``huggingface_hub``'s own
    (``hf auth login``, ``HF_TOKEN``).

    Args:
        run: what `build_dataset`, `train`, `evaluate` or `iterate` gave, or its folder.
        hub_dataset_id: ``NAMESPACE/NAME`` where a dataset, or an evaluation's per-sample records, go.
        hub_model_id: ``NAMESPACE/NAME`` where an adapter, or an evaluation's results, go.
        private: make a new repository private.
        create_pr: open a pull request instead of committing to main.
        base_hub_id: Hub id of a base model that is a local path here; by default as it was said before.
        merge: of an adapter, publish the base with its weights merged in.
        push_samples: of an evaluation, push the per-sample records too.
        license: of a dataset, licence of a source that states none, by its id on the Hub.
        accept_license: publish although the licence of a source may forbid it.
        accept_private: publish for all what has rows or weights of something private or gated: the records of such a
            benchmark, or such a base in a merged model.
        replace: replace data of another run that the repository holds.
        space: of an adapter, make a demo Space too, ``<model id>-demo``, where base and adapter answer side by side.
        collection: title of a collection of the same owner; the run goes into it, with the datasets that an adapter was
            trained on and the records of an evaluation, where these are on the Hub. Made where it is missing.
        new_version_of: ``NAMESPACE/NAME`` of an earlier model, whose card is made to point to this one.

    Returns:
        Where it is: url, visibility, commit, tag.

    Raises:
        UsageError: no repository is named (and the token is no trusted publisher's, which belongs to one), the wrong
            kind of repository, or results of another adapter than the repository's.
        RunError: not a finished run.
        HubError: data of another run that would be replaced, a licence that may forbid it, something private that
            would be public, no token or access, or the Hub refuses or cannot be reached.
    """
    from mmpref.hub.access import trusted_resource
    from mmpref.hub.companions import Companions
    from mmpref.hub.publish_run import kind_of, publish_run
    from mmpref.hub.published import said_before
    from mmpref.hub.target import find_target
    from mmpref.run.manifest import read_manifest
    from mmpref.run.scratch import scratch

    path = as_path("The run", run)
    if not (hub_dataset_id or hub_model_id or trusted_resource()):
        raise UsageError(NO_ID.format(run=run), f"Name it: hub_{kind_of(path)}_id='NAMESPACE/NAME'.")
    kind, name, samples_only = _place(path, hub_dataset_id, hub_model_id)
    kept = _kept(path, kind)
    base_hub_id = repo_id(base_hub_id, "model") if base_hub_id else said_before(kept).get("base_hub_id")
    companions = Companions(
        space,
        collection,
        new_version_of and repo_id(new_version_of, "model"),
        base_hub_id,
        private,
        create_pr,
        replace,
        merge,
    )
    if companions:
        target = find_target(name, kind, private=private, default_name=path.resolve().name)
        companions = companions.checked(read_manifest(kept), target)
    with scratch("merged") as folder:
        merged = None
        if merge:
            from mmpref.align.merge_adapter import merge_adapter

            target = find_target(name, "model", private=private, default_name=path.resolve().name)
            logger.info("The merged model will go to %s.", target.sentence)
            merged = folder
            merge_adapter(kept, merged)
        published = publish_run(
            path,
            name,
            private=private,
            create_pr=create_pr,
            base_hub_id=base_hub_id,
            push_samples=push_samples,
            samples_only=samples_only,
            accept_license=accept_license,
            accept_private=accept_private,
            license=license,
            replace=replace,
            merged=merged,
        )
    if companions:
        published = companions.publish(kept, read_manifest(kept), published)
    return Publication(**dataclasses.asdict(published))


def stage(
    run: NameOrPath,
    folder: NameOrPath,
    *,
    hub_dataset_id: str | None = None,
    hub_model_id: str | None = None,
    base_hub_id: str | None = None,
    merge: bool = False,
    license: str | None = None,
    accept_license: bool = False,
) -> Staged:
    """Write what `publish` would publish as a new repository into a folder, to look at or to upload by other means, and
    send nothing; ``mmpref publish --to-folder``. Of an adapter the base is read. Of an evaluation, for a model's id, it
    is the training run of this machine that was evaluated, with the results in its card.

    Args:
        run, hub_dataset_id, hub_model_id, base_hub_id, merge, license, accept_license: as of `publish`.
        folder: must not be there, or be empty, and not lie in the run.

    Raises:
        UsageError: no repository is named, the wrong kind of one, or results of what is no training run of this
            machine, or is another one now.
        RunError: not a finished run, or a folder that holds something.
        HubError: a licence that may forbid it, or something of this machine or a token in the files.
    """
    from mmpref.hub.evaluated_run import evaluated_run
    from mmpref.hub.publish_run import kind_of, refuse_folder, write_run
    from mmpref.run.manifest import read_manifest
    from mmpref.run.scratch import scratch

    path, into = as_path("The run", run), as_path("The folder", folder)
    kind, name, samples_only = _place(path, hub_dataset_id, hub_model_id)
    if not name:
        raise UsageError(NO_ID.format(run=run), f"Name it: --hub-{kind_of(path)}-id=NAMESPACE/NAME")
    if name.count("/") != 1:  # of whom it would be, only the Hub knows
        raise UsageError(f"{name!r} names no namespace.", f"Give --hub-{kind}-id=NAMESPACE/NAME, as it will be called.")
    base_hub_id = base_hub_id and repo_id(base_hub_id, "model")
    refuse_folder(path, into)
    manifest, results = read_manifest(path), None
    if manifest["command"] == "evaluate" and not samples_only:
        if merge:
            raise UsageError("The results are the adapter's, not those of a merged model.", "Leave --merge out.")
        results, path = path, evaluated_run(path, manifest)
    kept = _kept(path, kind)
    with scratch("merged") as merged:
        if merge:
            from mmpref.align.merge_adapter import merge_adapter

            merge_adapter(kept, merged)
        files = write_run(
            path,
            name,
            into,
            base_hub_id=base_hub_id,
            accept_license=accept_license,
            license=license,
            merged=merged if merge else None,
            results=results,
        )
    return Staged(str(into), name, len(files), sum(file.size for file in files))


def _place(path: Path, hub_dataset_id: str | None, hub_model_id: str | None) -> tuple[RepoType, str | None, bool]:
    """The kind of repository that a run goes to, its id, and whether only the records of an evaluation go there.

    Raises:
        UsageError: the other kind of repository is named.
    """
    from mmpref.hub.publish_run import kind_of
    from mmpref.run.manifest import read_manifest

    given: dict[RepoType, str | None] = {
        "dataset": hub_dataset_id and repo_id(hub_dataset_id, "dataset"),
        "model": hub_model_id and repo_id(hub_model_id, "model"),
    }
    if given["dataset"] and given["model"]:
        raise UsageError(
            f"{path} goes to one repository at a time.",
            "Publish it twice. Of an evaluation --hub-model-id takes the results, --hub-dataset-id the answers.",
        )
    samples_only = bool(given["dataset"]) and read_manifest(path)["command"] == "evaluate"
    kind: RepoType = "dataset" if samples_only else kind_of(path)
    if given["model" if kind == "dataset" else "dataset"]:
        raise UsageError(f"{path} belongs in a {kind} repository.", f"Use --hub-{kind}-id.")
    return kind, given[kind], samples_only


def _kept(path: Path, kind: RepoType) -> Path:
    """The run that is published, whose adapter is whole."""
    from mmpref.hub.publish_run import kept_run
    from mmpref.run.manifest import read_manifest

    kept = kept_run(path)
    if kind == "model" and read_manifest(kept)["command"] == "train":
        from mmpref.align.adapter import check_saved_adapter

        check_saved_adapter(kept)
    return kept
