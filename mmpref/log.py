"""The one logger: what mmpref says beside its results, on stderr where the command line runs."""

import logging

logger = logging.getLogger("mmpref")
