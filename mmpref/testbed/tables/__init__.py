"""The testbed's tables: each module is one, with ``SPLITS`` and ``rows(split)``."""
