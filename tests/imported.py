"""What commands import sooner or later, and what libraries do once in a process, for `tests.forked`: processes that are
forked off have it."""

import gc
import importlib
import io

NAMES = (
    "click",
    "datasets",
    "matplotlib.pyplot",
    "peft",
    "peft.tuners.lora.bnb",
    "peft.utils.transformers_weight_conversion",
    "scipy.stats",
    "sentence_transformers",
    "torch",
    "transformers",
    "transformers.models.auto.modeling_auto",
    "transformers.models.bert.modeling_bert",
    "transformers.models.clip.modeling_clip",
    "transformers.models.llama.modeling_llama",
    "transformers.models.llava_next.image_processing_pil_llava_next",
    "transformers.models.llava_next.modeling_llava_next",
    "transformers.models.llava_next.processing_llava_next",
    "trl",
    "mmpref.align.feature_cache",
    "mmpref.align.fit",
    "mmpref.align.methods.dpo",
    "mmpref.align.preference_data",
    "mmpref.align.preflight",
    "mmpref.align.train",
    "mmpref.align.trainer",
    "mmpref.align.trainer_factory",
    "mmpref.api.build",
    "mmpref.api.evaluate",
    "mmpref.api.train",
    "mmpref.bench.evaluate",
    "mmpref.cli.build_dataset",
    "mmpref.cli.evaluate",
    "mmpref.cli.main",
    "mmpref.cli.train",
    "mmpref.data.build",
    "mmpref.data.builders.bdhs",
    "mmpref.hub.cards.dataset",
    "mmpref.hub.cards.model",
    "mmpref.testbed.tables.testbed",
    "mmpref.vlm.shared_prefix_forward",
    "tests.forked",
)

gc.disable()  # imports make no garbage, and to look for it takes a sixth of their time
for name in NAMES:
    importlib.import_module(name)


def _read_what_is_read_once() -> None:
    """How each architecture's weights are renamed, image formats, words' plurals, and the letters of a picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    from mmpref.synonyms import singular

    get_checkpoint_conversion_mapping("llava_next")
    Image.init()
    singular("cups")
    figure = Figure()
    figure.add_subplot(title="Title", xlabel="label")
    FigureCanvasAgg(figure).print_png(io.BytesIO())


_read_what_is_read_once()
gc.freeze()
gc.enable()
