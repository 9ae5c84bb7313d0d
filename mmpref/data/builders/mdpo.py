"""mDPO: pairs of VLFeedback's answers to LLaVA's prompts (fwnlp/mDPO-preference-data).

Wang et al., arXiv 2406.11839. A row of ``vlfeedback_llava_10k.json`` has ``img_path``, ``prompt`` as Vicuna's template
renders it, ``chosen`` and ``rejected`` (luka-group/mDPO `data/sample_data.json`, commit 2221bb3); images are those of
VLFeedback's ``merged_images.zip``.
"""

from __future__ import annotations

from mmpref.data.builders._published import published
from mmpref.tables.table import Origin

ORIGIN = Origin(("fwnlp/mDPO-preference-data",), files=("vlfeedback_llava_10k.json",))

BUILDER = published("mdpo", ORIGIN)
