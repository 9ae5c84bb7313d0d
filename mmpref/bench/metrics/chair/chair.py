"""CHAIR with recall as a metric of the `evaluate` library; the rule is `mmpref.bench.scoring.chair`."""

import datasets
import evaluate

from mmpref.bench.scoring import chair
from mmpref.synonyms import Synonyms

_CITATION = "Rohrbach et al., Object Hallucination in Image Captioning, EMNLP 2018, arXiv 1809.02156"


class Chair(evaluate.Metric):
    """Share of hallucinated object mentions (chair_i) and captions (chair_s), with recall and length."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=__doc__,
            citation=_CITATION,
            inputs_description="predictions: captions (str). references: objects in the image (list of str). "
            "synonyms: path of a file in the format of CHAIR's synonyms.txt.",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.List(datasets.Value("string"))}
            ),
            reference_urls=["https://github.com/LisaAnne/Hallucination"],
        )

    def _compute(self, predictions: list[str], references: list[list[str]], synonyms: str) -> dict[str, float]:
        return chair.scores(predictions, references, Synonyms.read(synonyms))
