"""MM-RLHF: answers of several models, ranked by people, as pairs of different ranks (yifanzhang114/MM-RLHF).

Zhang et al., arXiv 2502.10391. A line of ``dpo_pairs.jsonl`` has ``prompt``, ``chosen`` and ``rejected``, and
``image`` or ``video``, a path under the repository's unpacked folders (Kwai-YuanQi/MM-RLHF
`scripts/convert_to_swift.py`, commit 7c8af1d). Rows with a video are skipped: ``no-image``.
"""

from __future__ import annotations

from mmpref.data.builders._published import published
from mmpref.tables.table import Origin

ORIGIN = Origin(("yifanzhang114/MM-RLHF",), files=("dpo_pairs.jsonl",))

BUILDER = published("mm-rlhf", ORIGIN)
