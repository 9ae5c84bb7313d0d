"""Sizes of published data sets and benchmarks, as their cards or files had them; for estimates alone."""

from __future__ import annotations

from dataclasses import dataclass

ASSUMED_QUESTIONS = 500
"""Of a benchmark whose rows are not known here: CHAIR is usually asked on 500 images."""


@dataclass(frozen=True)
class KnownSet:
    """rows of the split that is read; download in units of 10^9 bytes. None where it is not known here."""

    rows: int | None = None
    gigabytes: float | None = None


KNOWN: dict[str, KnownSet] = {
    "YiyangAiLab/POVID_preference_data_for_VLLMs": KnownSet(17_184, 0.0209),
    "openbmb/RLHF-V-Dataset": KnownSet(5_733),
    "zhiqings/LLaVA-Human-Preference-10K": KnownSet(9_422, 0.0323),
    "YangyiYY/LVLM_NLF": KnownSet(63_000, 0.102),
    "MMInstruction/VLFeedback": KnownSet(80_258, 4.0),
    "HuggingFaceH4/rlaif-v_formatted": KnownSet(4_157, 6.9),
    "fwnlp/mDPO-preference-data": KnownSet(9_420),
    "OpenGVLab/MMPR-v1.2": KnownSet(gigabytes=54.7),
    "YanNeu/DASH-B": KnownSet(2_682),
    "BaiqiL/NaturalBench": KnownSet(1_900),
    "lmms-lab-eval/MMVP": KnownSet(300),
    "lmms-lab-encoder/POPE": KnownSet(9_000),
    "hf://datasets/Shengcao1006/MMHal-Bench/response_template.json": KnownSet(96),
    "lmms-lab-encoder/llava-bench-in-the-wild": KnownSet(60),
    "lmms-lab-encoder/textvqa": KnownSet(5_000),
    "lmms-lab-encoder/GQA": KnownSet(12_578),
    "lmms-lab-encoder/MMVet": KnownSet(218),
}
