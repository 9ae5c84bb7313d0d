"""The testbed's tables: each module is one, with ``SPLITS``, ``LICENCE`` and ``rows(split)``."""
