"""A collection on the Hub that holds a chain: preference data, the adapter trained on them, records of its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError

from mmpref.errors import HubError, UsageError
from mmpref.hub._calls import Calls, Retry
from mmpref.hub.access import RepoType, usual_token
from mmpref.hub.published import Published, dataset_address
from mmpref.hub.target import is_public
from mmpref.hub.training_data import as_published, trained_on
from mmpref.log import logger

LONGEST_TITLE = 60
"""Characters of a collection's title that the Hub takes."""
_NOTES = {
    "build-dataset": "Preference pairs",
    "adapter": "The adapter",
    "model": "The model",
    "records": "Per-sample records of the evaluation",
    "demo": "Base and adapter side by side",
}


@dataclass(frozen=True)
class Item:
    """A repository of a collection.

    Args:
        note: what it is in the chain.
    """

    repo_id: str
    repo_type: RepoType
    note: str


def chain_of(
    path: Path,
    manifest: Mapping[str, Any],
    published: Published,
    endpoint: str,
    demo: str | None = None,
    *,
    merged: bool = False,
) -> list[Item]:
    """What a published run brings to its collection: itself, and what it was made from or goes with, where that is on
    the Hub.

    Args:
        path: of the run.
        published: where it went.
        demo: id of the Space that shows it.
        merged: the base with the adapter's weights in it was published.
    """
    command = manifest["command"]
    model = _NOTES["model" if merged or (command == "evaluate" and not manifest.get("adapter")) else "adapter"]
    if command == "evaluate" and published.repo_type == "dataset":
        return [Item(published.repo_id, "dataset", _NOTES["records"])]
    if command == "evaluate":
        own = Item(published.repo_id, "model", f"{model}, with its results")
        url, prefix = dataset_address(path) or "", f"{endpoint}/datasets/"
        records = [url.removeprefix(prefix)] if url.startswith(prefix) else []
        return [own, *(Item(name, "dataset", _NOTES["records"]) for name in records)]
    own = Item(published.repo_id, published.repo_type, model if command == "train" else _NOTES[command])
    pairs = [Item(name, "dataset", _NOTES["build-dataset"]) for name in trained_on(as_published(manifest, endpoint))]
    return [*pairs, own, *([Item(demo, "space", _NOTES["demo"])] if demo else [])]


def check_collection(
    title: str, namespace: str, *, private: bool, token: str | None = None, endpoint: str | None = None
) -> None:
    """Check, before anything is published, that the collection can be made or filled.

    Args:
        title, namespace, private: as of `add_to_collection`.

    Raises:
        UsageError: a title that is empty or too long.
        HubError: a public one of this title where a private one is wanted, or the Hub does not answer.
    """
    if not title.strip() or len(title) > LONGEST_TITLE:
        raise UsageError(
            f"The Hub takes no collection with a title of {len(title)} characters: {title[:LONGEST_TITLE]!r}.",
            f"Give --collection a title of 1 to {LONGEST_TITLE} characters.",
        )
    if not private:
        return
    token = token or usual_token()
    api = HfApi(endpoint=endpoint or constants.ENDPOINT, token=token)
    calls = Calls(f"collections of {namespace}", api.endpoint, token, Retry(attempts=3))
    for collection in calls.run("look for the collection", lambda: list(api.list_collections(owner=namespace))):
        if collection.title == title and not collection.private:
            raise is_public(f"{api.endpoint}/collections/{collection.slug}")


def add_to_collection(
    title: str,
    items: Sequence[Item],
    *,
    namespace: str,
    private: bool,
    token: str | None = None,
    endpoint: str | None = None,
    retry: Retry | None = None,
) -> str:
    """Put repositories into a collection, which is made where there is none of this title; what is in it stays.

    Args:
        title: of the collection, as `check_collection` takes it.
        namespace: whose collection it is.
        private: a new one shall be.

    Returns:
        Its address.

    Raises:
        HubError: the Hub refuses it, or does not answer.
    """
    token = token or usual_token()
    api = HfApi(endpoint=endpoint or constants.ENDPOINT, token=token)
    calls = Calls(f"collection {title!r} of {namespace}", api.endpoint, token, retry or Retry())
    collection = calls.run(
        "make the collection",
        lambda: api.create_collection(title, namespace=namespace, private=private, exists_ok=True),
    )
    for item in items:
        try:
            calls.run(
                f"add {item.repo_id} to the collection",
                lambda item=item: api.add_collection_item(  # type: ignore[misc]
                    collection.slug, item.repo_id, item.repo_type, note=item.note, exists_ok=True
                ),
            )
        except HubError as error:
            cause = error.__cause__
            if not (isinstance(cause, HfHubHTTPError) and cause.response.status_code == 404):
                raise
            logger.warning("Warning: the Hub has no %s %s for the collection.", item.repo_type, item.repo_id)
    logger.info("in the collection %s", collection.url)
    return str(collection.url)
