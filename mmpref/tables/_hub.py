"""Tables from the Hub: the revision is resolved to a commit first, and that commit is what is read."""

from __future__ import annotations

from pathlib import Path

from mmpref.errors import HubError, InputError
from mmpref.tables import Table, tables_hint
from mmpref.tables._datasets import load_errors, undecoded


def open_hub(spec: str, split: str, config: str | None, revision: str | None) -> Table:
    """Open one split of a Hub dataset.

    Raises:
        InputError: no such dataset, revision, configuration or split, or it is closed to this user.
        HubError: the Hub cannot be reached.
    """
    import datasets
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    # The HTTP library's own base class (httpx or httpx2, as huggingface_hub's version has it).
    http_error: type[Exception] = HfHubHTTPError.__mro__[1]
    api = HfApi()
    try:
        info = api.dataset_info(spec, revision=revision)
    except GatedRepoError as error:
        raise InputError(f"The dataset {spec!r} is gated.", f"Ask for access on its page at {api.endpoint}, and log in "
                         "(hf auth login).") from error  # fmt: skip
    except RevisionNotFoundError as error:
        raise InputError(f"The dataset {spec!r} has no revision {revision!r}.", "Check it on its Hub page.") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise InputError(
            f"There is no table, file or folder {spec!r}, nor such a dataset at {api.endpoint} (or it is private).",
            f"{tables_hint(spec)} For a private dataset log in (hf auth login).",
        ) from error
    except (http_error, OSError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise HubError(
            f"There is no table, file or folder {spec!r}, and the Hub at {api.endpoint} cannot be asked for a "
            f"dataset of that name: {reason}.",
            tables_hint(spec),
        ) from error
    with load_errors(f"{spec} (split {split!r} at {info.sha})"):
        try:
            loaded = datasets.load_dataset(spec, config, split=split, revision=info.sha)
        except http_error as error:
            raise HubError(f"The dataset {spec} could not be downloaded from {api.endpoint}: {error}",
                           "Check the network and run the same command again.") from error  # fmt: skip
    licence = info.card_data.get("license") if info.card_data else None
    roots = [Path(constants.HF_HUB_CACHE), Path(datasets.config.HF_DATASETS_CACHE)]
    return Table(spec, split, info.sha, info.sha or "", licence if isinstance(licence, str) else None,
                 lambda: undecoded(loaded, roots))  # fmt: skip
