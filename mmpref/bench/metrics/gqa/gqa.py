"""GQA's exact match as a metric of the `evaluate` library; the rule is `mmpref.bench.scoring.gqa`."""

import datasets
import evaluate

from mmpref.bench.scoring import gqa

_CITATION = "Hudson and Manning, GQA: A New Dataset for Real-World Visual Reasoning, CVPR 2019, arXiv 1902.09506"


class Gqa(evaluate.Metric):
    """Share of answers that equal the reference, by two rules."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=__doc__,
            citation=_CITATION,
            inputs_description="predictions: raw answers (str). references: lower-case answers (str).",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
            reference_urls=["https://github.com/haotian-liu/LLaVA"],
        )

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        pairs = list(zip(predictions, references, strict=True))
        return {
            "accuracy": sum(gqa.right(*pair) for pair in pairs) / len(pairs),
            "accuracy_no_punctuation": sum(gqa.right_without_punctuation(*pair) for pair in pairs) / len(pairs),
        }
