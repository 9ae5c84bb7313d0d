"""MMStar's reading of letters as a metric of the `evaluate` library; the rule is `mmpref.bench.scoring.mmstar`."""

import datasets
import evaluate

from mmpref.bench.scoring import mmstar

_CITATION = "Chen et al., Are We on the Right Way for Evaluating Large Vision-Language Models?, arXiv 2403.20330"


class MmStar(evaluate.Metric):
    """Share of answers that choose the right letter, by two rules."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=__doc__,
            citation=_CITATION,
            inputs_description="predictions: raw answers (str). references: letters (str).",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
            reference_urls=["https://github.com/MMStar-Benchmark/MMStar"],
        )

    def _compute(self, predictions: list[str], references: list[str]) -> dict[str, float]:
        letters = [mmstar.letter(answer) for answer in predictions]
        pairs = list(zip(predictions, references, strict=True))
        return {
            "accuracy": sum(mmstar.right(*pair) for pair in pairs) / len(pairs),
            "accuracy_strict": sum(letter == true for letter, true in zip(letters, references, strict=True))
            / len(pairs),
            "parse_failures": float(letters.count("")),
        }
