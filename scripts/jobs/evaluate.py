# /// script
# requires-python = ">=3.11"
# dependencies = ["mmpref"]
#
# [tool.hf-jobs]
# flavor = "a10g-large"
# timeout = "12h"
# secrets = ["HF_TOKEN"]
# ///
r"""Evaluate base and adapter as a job: `mmpref job evaluate` with its options (--help).

    hf jobs uv run scripts/jobs/evaluate.py --state me/mmpref-state --model llava-hf/llava-v1.6-vicuna-7b-hf \
        --adapter me/vlm-bdhs --benchmark pope

A job that is cut loses half an hour at most: the same command goes on. --dry-run checks options and token.
"""

from mmpref.cli.job import run

if __name__ == "__main__":
    run("evaluate")
