"""VQA accuracy as a metric of the `evaluate` library; the rule is `mmpref.bench.scoring.vqa`."""

import datasets
import evaluate

from mmpref.bench.scoring import vqa

_CITATION = "Singh et al., Towards VQA Models That Can Read, CVPR 2019, arXiv 1904.08920"


class VqaAccuracy(evaluate.Metric):
    """Mean agreement with ten people's answers."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=__doc__,
            citation=_CITATION,
            inputs_description="predictions: raw answers (str). references: ten answers each (list of str).",
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.List(datasets.Value("string"))}
            ),
            reference_urls=["https://github.com/facebookresearch/mmf"],
        )

    def _compute(self, predictions: list[str], references: list[list[str]]) -> dict[str, float]:
        each = [vqa.accuracy(answer, people) for answer, people in zip(predictions, references, strict=True)]
        return {"vqa_accuracy": sum(each) / len(each)}
