"""``mmpref evaluate``: parse, evaluate, show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from mmpref.cli import common
from mmpref.cli.progress import Progress


@click.command()
@click.option(
    "--model",
    callback=common.model_name,
    help="Model: Hub id, folder, or URL#MODEL of an endpoint. [default: the testbed's]",
)
@click.option("--revision", help="Revision of the model.")
@click.option(
    "--adapter", callback=common.model_name, help="Adapter to score beside the base: Hub id or run directory."
)
@click.option("--adapter-revision", help="Revision of the adapter.")
@click.option("--benchmark", "benchmarks", multiple=True, help="See `mmpref list benchmarks`. Repeatable.")
@click.option("--split", help="Split of the benchmarks' data.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the first samples of each benchmark.")
@click.option(
    "--blind",
    type=click.Choice(["no-image", "masked"]),
    help="Control: ask without the images, or with all image tokens hidden.",
)
@click.option(
    "--judge",
    metavar="WHO",
    help="Who judges, for benchmarks that need it: URL#MODEL, a model, or judgements in a file.",
)
@click.option(
    "--judge-prompt",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Template for the judge, in place of the benchmark's own.",
)
@click.option("--judge-repeats", type=click.IntRange(min=1), help="Ask the judge so often, for its noise. [default: 1]")
@click.option(
    "--concurrency", type=click.IntRange(min=1), default=8, show_default=True, help="Requests to an endpoint at a time."
)
@click.option("--seed", type=int, help="Seed of the bootstrap. [default: 0]")
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True, help="Answers at a time.")
@click.option(
    "--save",
    "saved",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="FOLDER",
    help="Also write the results there with evaluate.save.",
)
@common.push_options("model")
@common.recipe_options
@common.output_options
def command(
    model: str | None,
    revision: str | None,
    adapter: str | None,
    adapter_revision: str | None,
    benchmarks: tuple[str, ...],
    split: str | None,
    limit: int | None,
    blind: str | None,
    judge: str | None,
    judge_prompt: Path | None,
    judge_repeats: int | None,
    concurrency: int,
    seed: int | None,
    batch_size: int,
    saved: Path | None,
    push: bool,
    hub_id: str | None,
    private: bool,
    recipe_name: str | None,
    assignments: tuple[str, ...],
    output: Path | None,
    as_json: bool,
) -> None:
    """Run benchmarks on a model and, with --adapter, on both, with paired differences.

    \b
    Examples:
      mmpref evaluate
      mmpref evaluate --adapter runs/train-dpo-1a2b3c4d
      mmpref evaluate --model llava-hf/llava-v1.6-vicuna-7b-hf --adapter me/vlm-bdhs --benchmark pope
      mmpref evaluate --model http://127.0.0.1:8000/v1#my-model --benchmark pope
      mmpref evaluate --blind masked
    """
    from mmpref.bench.evaluate import EvaluateRecipe, evaluate
    from mmpref.bench.export import save
    from mmpref.distributed import rank

    options: dict[str, Any] = {
        "model": model,
        "revision": revision,
        "adapter": adapter,
        "adapter_revision": adapter_revision,
        "benchmarks": benchmarks,
        "split": split,
        "limit": limit,
        "seed": seed,
        "blind": blind,
        "judge": judge,
        "judge_repeats": judge_repeats,
        "judge_prompt": common.template(judge_prompt, "--judge-prompt") if judge_prompt else None,
    }
    recipe = common.resolve(EvaluateRecipe, "evaluate", recipe_name, options, assignments, model is not None)
    target = common.push_target(push, hub_id, "model", output)
    main = not rank()
    with Progress("answers", watched=main) as progress:
        manifest = evaluate(
            recipe, output, batch_size=batch_size, concurrency=concurrency, on_progress=progress.advance
        )
    if not main:
        return
    path = common.run_path("evaluate", recipe.title, manifest, output)
    if saved:
        save(manifest, saved)
    published = common.publish(target, path, private)
    common.show({**manifest, "path": str(path), **published}, as_json, lambda: _print(manifest, path, published))


def print_results(content: Mapping[str, Any]) -> None:
    """The results of an evaluation as a table on stdout."""
    with_adapter = bool(content["differences"])
    base = [row for row in content["results"] if row["model"] == "base"]
    other = {_key(row): row for row in content["results"] if row["model"] == "adapter"}
    change = {_key(row): row for row in content["differences"]}
    counts = {"n": "n", "unparsed": "parse_failures"}
    if any(row["missing"] for row in content["results"]):
        counts["missing"] = "missing"
    rows = []
    for row in base:
        cells = [" ".join(_key(row)).removesuffix(" all"), _interval(row)]
        if with_adapter:
            moved = change[_key(row)]
            cells += [_interval(other[_key(row)]), _interval(moved, signed=True), p_value(moved)]
        models = [row, *([other[_key(row)]] if with_adapter else [])]
        rows.append([*cells, *(_count(models, name) for name in counts.values())])
    columns = ["metric", "base", *(["adapter", "difference", "p"] if with_adapter else []), *counts]
    noisy = [row for row in content["results"] if "judge_noise" in row and row["headline"] and row["split"] == "all"]
    common.print_table("evaluation: value [95 % interval]", columns, rows)
    for row in noisy:
        noise = row["judge_noise"]
        click.echo(
            f"Judge noise of {row['model']} {row['benchmark']} {row['metric']}: {noise['deviation']:.3f} (SD of "
            f"{noise['repeats']} repeats, {noise['low']:.3f} to {noise['high']:.3f}); the first repeat scores."
        )
    for label, models in content.get("reasoning", {}).items():
        for model, replies in models.items():
            click.echo(
                f"Reasoning was taken off {replies['reasoned']} replies of {model} to {label}; {replies['unfinished']} "
                "of them came to no answer and are missing."
            )
    for label, models in content.get("judge", {}).get("replies", {}).items():
        for model, said in models.items():
            if example := said.get("unreadable_example"):
                click.echo(
                    f"Replies of the judge to {label} of {model} that could not be read: "
                    f"{100 * said['unreadable_share']:.1f} %, such as {example!r}."
                )
    if with_adapter:
        click.echo("Counts that differ are written base / adapter.")
        claims = sum(row.get("p_holm") is not None for row in content["differences"])
        click.echo(legend(claims))


def p_value(test: Mapping[str, Any]) -> str:
    """A p-value as a cell: of a headline metric the corrected one, with its stars."""
    from mmpref.bench.significance import mark

    corrected = test.get("p_holm")
    p = test.get("p") if corrected is None else corrected
    if p is None:
        return "–"
    text = "<0.001" if p < 0.001 else f"{p:.3f}"
    return text if corrected is None else f"{text} Holm{mark(corrected)}"


def legend(claims: int) -> str:
    """What the p-values of a table are."""
    return (
        "p: McNemar's exact test for shares of right answers, paired bootstrap else, both by image. Headline "
        f"metrics ({claims} here): corrected by Holm's method, * < 0.05, ** < 0.01, *** < 0.001."
    )


def _print(manifest: Mapping[str, Any], path: Path, published: Mapping[str, Any]) -> None:
    print_results(manifest)
    for name, text in {"written to": str(path), **published}.items():
        click.echo(f"{name} {text}")


def _key(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["benchmark"], row["metric"], row["split"]


def _count(models: Sequence[Mapping[str, Any]], name: str) -> str:
    return " / ".join(str(count) for count in dict.fromkeys(model[name] for model in models))


def _interval(row: Mapping[str, Any], signed: bool = False) -> str:
    form = "{:+.3f} [{:+.3f}, {:+.3f}]" if signed else "{:.3f} [{:.3f}, {:.3f}]"
    return form.format(row["value"], row["low"], row["high"])
