"""What commands import sooner or later, for `tests.forked`: processes that are forked off have it."""

import gc
import importlib

NAMES = (
    "click",
    "datasets",
    "matplotlib.pyplot",
    "peft",
    "scipy.stats",
    "sentence_transformers",
    "torch",
    "transformers",
    "transformers.models.auto.modeling_auto",
    "transformers.models.llava_next.modeling_llava_next",
    "transformers.models.llava_next.processing_llava_next",
    "trl",
    "mmpref.align.fit",
    "mmpref.align.preference_data",
    "mmpref.align.train",
    "mmpref.align.trainer",
    "mmpref.api.build",
    "mmpref.api.evaluate",
    "mmpref.api.train",
    "mmpref.bench.evaluate",
    "mmpref.cli.main",
    "mmpref.data.build",
    "tests.forked",
)

gc.disable()  # imports make no garbage, and to look for it takes a sixth of their time
for name in NAMES:
    importlib.import_module(name)
gc.freeze()
gc.enable()
