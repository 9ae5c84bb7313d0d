"""What goes with a published run, in repositories of its own: a demo, a collection, the card of the version before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from huggingface_hub import constants

from mmpref.errors import UsageError
from mmpref.hub.access import page_of
from mmpref.hub.collection import add_to_collection, chain_of, check_collection
from mmpref.hub.new_version import check_old_version, point_to_new_version
from mmpref.hub.published import Published
from mmpref.hub.space import check_space, demo_id, publish_space
from mmpref.hub.target import Target
from mmpref.run.manifest import is_whole_model


@dataclass(frozen=True)
class Companions:
    """Of one publication.

    Args:
        space: a demo Space of the adapter.
        collection: title of the collection that the chain goes into.
        new_version_of: the earlier model, whose card shall point to this one.
        base_hub_id: the Hub id that stands for a base model that is local here.
        private: new repositories are.
        create_pr: the run goes to a pull request, and so does the change of the earlier card.
        replace: replace another run's demo.
        merged: the base with the adapter's weights in it is published.
    """

    space: bool = False
    collection: str | None = None
    new_version_of: str | None = None
    base_hub_id: str | None = None
    private: bool = False
    create_pr: bool = False
    replace: bool = False
    merged: bool = False

    def __bool__(self) -> bool:
        return self.space or self.collection is not None or self.new_version_of is not None

    def checked(self, manifest: Mapping[str, Any], target: Target, **where: Any) -> Companions:
        """Refuse, before anything is published, what cannot be.

        Args:
            manifest: of the run.
            target: where it will go; what goes with a private model is private.
            where: ``token`` and ``endpoint``, as of `mmpref.hub.publish.publish_folder`.

        Returns:
            The same, with the earlier model's full id.

        Raises:
            UsageError: the run is none of a training, what is published has no demo, a collection's title that the Hub
                does not take, or an earlier model that is not there or may not name this one.
            HubError: no access, a Space of another run, or something public where it must be private.
        """
        wanted = {"--space": self.space, "--new-version-of": self.new_version_of is not None}
        for option in (name for name, value in wanted.items() if value and manifest["command"] != "train"):
            command = manifest["command"]
            raise UsageError(f"{option} is for adapters, and this is a run of `{command}`.", "Leave it out.")
        if self.space and (self.merged or self.create_pr):
            other = "--merge" if self.merged else "--create-pr"
            raise UsageError(f"A demo shows an adapter that is on main: --space does not go with {other}.")
        if self.space and is_whole_model(manifest):
            raise UsageError("A demo sets an adapter beside its base, and this is a whole model.", "Leave --space out.")
        old = self.new_version_of
        if old is not None:
            old = check_old_version(old, target, **where)
        if self.space:
            check_space(
                target.repo_id, manifest, self.base_hub_id, private=target.private, replace=self.replace, **where
            )
        if self.collection is not None:
            namespace = target.repo_id.split("/")[0]
            check_collection(self.collection, namespace, private=target.private, **where)
        return replace(self, new_version_of=old)

    def publish(self, path: Path, manifest: Mapping[str, Any], published: Published, **where: Any) -> Published:
        """Publish them; what came of it, beside where the run is.

        Args:
            path, manifest: of the run.
            published: where it went.
            where: as of `checked`.

        Raises:
            HubError: the Hub refuses, or does not answer; the run is published all the same.
        """
        endpoint = (where.get("endpoint") or constants.ENDPOINT).rstrip("/")
        private = self.private or published.visibility == "private"
        if self.space:
            demo = publish_space(
                path, manifest, published, self.base_hub_id, private=private, replace=self.replace, **where
            )
            published = replace(published, space=demo.url)
        if self.new_version_of is not None:
            point_to_new_version(self.new_version_of, published.repo_id, create_pr=self.create_pr, **where)
            published = replace(published, new_version_of=page_of(endpoint, self.new_version_of, "model"))
        if self.collection is not None:
            shown = demo_id(published.repo_id) if self.space else None
            url = add_to_collection(
                self.collection,
                chain_of(path, manifest, published, endpoint, shown, merged=self.merged or is_whole_model(manifest)),
                namespace=published.repo_id.split("/")[0],
                private=private,
                **where,
            )
            published = replace(published, collection=url)
        return published
