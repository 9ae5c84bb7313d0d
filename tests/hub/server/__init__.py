"""A server that speaks the Hub's HTTP protocol (LFS mode): for tests, and to try `--push` without an account.

It holds models and datasets with commits, branches, tags, pull requests, private repositories and tokens, in
a temporary folder. It knows nothing of mmpref; unmodified huggingface_hub, datasets, transformers and peft
talk to it.
"""

from __future__ import annotations

from .faults import Fault, Faults
from .running import HubServer

__all__ = ["Fault", "Faults", "HubServer"]
