"""What the licences of data say about publishing what was made of them, a dataset or an adapter: nothing, something to
know, or better not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mmpref.errors import HubError
from mmpref.licence import AND, LICENCES, UNREADABLE
from mmpref.log import logger

_UNREADABLE_CARD = "what its card states cannot be read"
_NO_DERIVATIVES = re.compile(r"-nd(-|$)")
_NON_COMMERCIAL = re.compile(r"-nc(-|$)|noncommercial|non-commercial|research")


def check_licences(source: Mapping[str, Any], accepted: bool) -> list[str]:
    """Warn of what must be known, and refuse what may not be published unread.

    A licence without derivatives forbids what is made of the data; one that the Hub has no id for, several at once
    and a card that cannot be read say something that only a reader can tell. Non-commercial licences allow publishing,
    under the same terms. Where nobody states a licence nobody has allowed anything, but sources of one's own have none
    either: that is a warning.

    Args:
        source: the manifest's facts of a source, or of the data of a training: ``id`` and ``licence``, and ``sources``
            where there are several.
        accepted: the user has read them and may publish (``--accept-license``).

    Returns:
        The sources and licences that were accepted, as ``id: licence``.

    Raises:
        HubError: a licence that forbids, or may forbid, publishing.
    """
    restricted = []
    for entry in source.get("sources") or [source]:
        name, licence = entry["id"], " ".join((entry.get("licence") or "").split()).lower()
        if licence in ("", "unknown"):
            logger.warning(
                "Warning: %s states no licence. Find out whether you may publish what is made of it; of data of your "
                "own --license says it.",
                name,
            )
        elif _NO_DERIVATIVES.search(licence) or AND in licence or licence not in LICENCES - {"other"}:
            restricted.append(f"{name}: {_UNREADABLE_CARD if licence == UNREADABLE else licence}")
        elif _NON_COMMERCIAL.search(licence):
            logger.warning(
                "Warning: %s is under %s: what is made of it is too, and nobody may use it commercially.",
                name,
                licence,
            )
    if restricted and not accepted:
        raise HubError(
            f"Publishing may be forbidden by the licence of {'; '.join(restricted)}.",
            "Read what holds there; if you may publish, say so with --accept-license.",
        )
    return restricted
