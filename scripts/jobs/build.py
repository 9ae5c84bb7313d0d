# /// script
# requires-python = ">=3.11"
# dependencies = ["mmpref"]
#
# [tool.hf-jobs]
# flavor = "a10g-large"
# timeout = "12h"
# secrets = ["HF_TOKEN"]
# ///
r"""Build a preference dataset as a job: `mmpref job build-dataset` with its options (--help).

    hf jobs uv run scripts/jobs/build.py --state me/mmpref-state --model llava-hf/llava-v1.6-vicuna-7b-hf \
        --source me/my-sft-set --limit 5000 --hub-dataset-id me/bdhs-5k

A job that is cut loses half an hour at most: the same command goes on. --dry-run checks options and token.
"""

from mmpref.cli.job import run

if __name__ == "__main__":
    run("build-dataset")
