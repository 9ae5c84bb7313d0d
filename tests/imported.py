"""What commands import sooner or later, for `tests.forked`: processes that are forked off have it."""

import gc

import click
import datasets
import matplotlib.pyplot
import peft
import scipy.stats
import sentence_transformers
import torch
import transformers
import transformers.models.auto.modeling_auto
import transformers.models.llava_next.modeling_llava_next
import transformers.models.llava_next.processing_llava_next
import trl

import mmpref.align.fit
import mmpref.align.preference_data
import mmpref.align.train
import mmpref.align.trainer
import mmpref.api.build
import mmpref.api.evaluate
import mmpref.api.train
import mmpref.bench.evaluate
import mmpref.cli.main
import mmpref.data.build
import tests.forked

__all__ = [
    "click",
    "datasets",
    "matplotlib",
    "mmpref",
    "peft",
    "scipy",
    "sentence_transformers",
    "tests",
    "torch",
    "transformers",
    "trl",
]

gc.freeze()
