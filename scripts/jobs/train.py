# /// script
# requires-python = ">=3.11"
# dependencies = ["mmpref"]
#
# [tool.hf-jobs]
# flavor = "a100-large"
# timeout = "12h"
# secrets = ["HF_TOKEN"]
# ///
r"""Train an adapter as a job: `mmpref job train` with its options (--help).

    hf jobs uv run scripts/jobs/train.py --state me/mmpref-state --model llava-hf/llava-v1.6-vicuna-7b-hf \
        --dataset me/bdhs-5k --hub-model-id me/vlm-bdhs

A job that is cut loses half an hour at most: the same command goes on. --dry-run checks options and token.
"""

from mmpref.cli.job import run

if __name__ == "__main__":
    run("train")
