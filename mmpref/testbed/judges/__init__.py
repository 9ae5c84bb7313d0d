"""Who knows the truth about the testbed's scenes: each module is one, with ``JUDGE``."""
