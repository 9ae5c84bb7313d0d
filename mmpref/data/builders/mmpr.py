"""MMPR: three million pairs of InternVL's reasoning, by right answers and by dropped images (OpenGVLab/MMPR-v1.2).

Wang et al., arXiv 2411.10442. ``meta.json`` names the files of ``annotations.zip``, and the folder of each one's
images in ``images.zip_aa``, ``_ab`` and ``_ac`` (to be joined and unpacked for ``--image-root``); rows are read from
the archive one by one. A row has ``image`` (one path or several), ``question``, ``chosen`` and ``rejected``
(OpenGVLab/InternVL `internvl_chat_mpo.py`, commit 2410d1d); ``source`` is the name of its file. Rows without an image
are skipped (``no-image``).
"""

from __future__ import annotations

from mmpref.data.builders._published import published
from mmpref.tables.table import Origin

ORIGIN = Origin(("OpenGVLab/MMPR-v1.2",), files=("meta.json",), archives=("annotations.zip",))

BUILDER = published("mmpr", ORIGIN)
