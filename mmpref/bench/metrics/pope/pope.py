"""POPE as a metric of the `evaluate` library; the rule is `mmpref.bench.scoring.pope`."""

import datasets
import evaluate

from mmpref.bench.scoring import pope

_CITATION = "Li et al., Evaluating Object Hallucination in Large Vision-Language Models, EMNLP 2023, arXiv 2305.10355"


class Pope(evaluate.Metric):
    """Yes/no questions about objects; the positive class is yes."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=__doc__,
            citation=_CITATION,
            inputs_description="predictions: raw answers (str). references: 'yes' or 'no'.",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
            reference_urls=["https://github.com/RUCAIBox/POPE"],
        )

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        return pope.scores(predictions, references)
