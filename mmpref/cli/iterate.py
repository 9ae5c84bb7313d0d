"""``mmpref iterate``: parse, do the rounds, show."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from mmpref.cli import common
from mmpref.recipes.resolve import parse_set


@click.command()
@click.argument("name")
@click.option("--rounds", type=click.IntRange(min=1), help="At most so many. [default: 3]")
@click.option(
    "--rows",
    type=click.Choice(["new", "same"]),
    help="new: each round builds on the next rows of the source; same: on the same, by another seed. [default: new]",
)
@click.option("--limit", type=click.IntRange(min=1), help="Rows a round. [default: build-dataset.limit]")
@click.option("--metric", metavar="BENCHMARK/METRIC", help="Says which round is kept.")
@click.option("--split", help="Split of the benchmarks' data that says so; not the one reported on. [default: dev]")
@click.option("--benchmark", multiple=True, help="Evaluate every round on it. Repeatable. [default: the recipe's]")
@click.option(
    "--improves",
    type=click.Choice(["better", "clear"]),
    help="better: keep a round whose metric is better; clear: and its verdict is better. [default: better]",
)
@click.option("--patience", type=click.IntRange(min=1), help="Stop after so many rounds not kept. [default: 1]")
@click.option(
    "--max-kl",
    type=click.FloatRange(min=0, min_open=True),
    metavar="NATS",
    help="Stop at a round that is farther from the base, in nats a token, and do not keep it.",
)
@click.option("--kl-prompts", type=click.IntRange(min=0), help="Prompts that this is measured on. [default: 32]")
@click.option("--seed", type=int, help="Of the first round; each later round's is one more.")
@click.option(
    "--set",
    multiple=True,
    callback=lambda _context, _option, assignments: parse_set(assignments),
    metavar="SECTION.KEY=VALUE",
    help="Override one setting of a section, such as train.trainer.max_steps=10. Repeatable.",
)
@click.option("--dry-run", is_flag=True, help="Only check it all and print what each round will do.")
@common.output_options
def command(name: str, dry_run: bool, output: Path | None, as_json: bool, **options: Any) -> None:
    """Build pairs with the policy, train it on them, evaluate it, and again: rounds of the recipe NAME.

    A round builds with the adapter of the round before, and goes on training it; the reference of its loss is the
    policy of the round before. The section `iterate` of the recipe, or options, say how many rounds there are and
    which is kept. The same command goes on after an interruption.

    \b
    Examples:
      mmpref iterate testbed --dry-run
      mmpref iterate my.yaml --rounds 3 --output out
      mmpref iterate my.yaml --metric chair/chair_i --split dev --improves clear --max-kl 0.3
      mmpref publish out --hub-model-id me/vlm-bdhs-rounds
    """
    from mmpref.api.chain import chain_of
    from mmpref.api.iterate import iterate
    from mmpref.api.rounds import check_chain, folder_of, is_done
    from mmpref.cli.checks import check

    overrides, given = options.pop("set"), {**options, "benchmarks": list(options["benchmark"]) or None}
    given.pop("benchmark")
    chain = chain_of(name, given, overrides)
    folder = folder_of(chain, output)
    if dry_run or not is_done(chain, folder):
        click.echo(f"Looking for all that the rounds of {name} name.", err=True)
        check_chain(chain, check)
    if dry_run:
        rounds = [
            [_line(call, folder, number) for call in chain.calls(number, folder)]
            for number in range(1, chain.settings.at_most + 1)
        ]
        start = [] if (call := chain.start()) is None else [_line(call, folder, 0)]
        plan = {"rule": chain.settings.rule.text, **({"start": start} if start else {}), "rounds": rounds}
        common.show(plan, as_json, lambda: _show_plan(chain, start, rounds))
        return
    done = iterate(name, **options, set=overrides, output=folder)
    test = {"test": done.test.as_dict()} if done.test else {}
    common.show({**done.manifest, "path": str(folder), **test}, as_json, lambda: _show(done))


def _line(call: Any, folder: Path, number: int) -> str:
    return shlex.join(["mmpref", *call.arguments(), "--output", str(folder / f"round-{number}" / call.command)])


def _show_plan(chain: Any, start: list[str], rounds: list[list[str]]) -> None:
    from mmpref.cli.format import print_text

    if start:
        click.echo("# what it begins with")
        click.echo("\n".join(start))
    for number, commands in enumerate(rounds, 1):
        click.echo(f"# round {number}")
        click.echo("\n".join(commands))
    print_text(f"# {chain.settings.rule.text}")
    print_text(f"# The round that is kept by {chain.settings.metric} is evaluated in the end:")
    click.echo(shlex.join(["mmpref", *chain.test(Path("ROUND")).arguments()]))


def _show(done: Any) -> None:
    from mmpref.cli.format import print_table, print_text, print_verdict
    from mmpref.run import verdict

    print_table(done.title, *done.table())
    for remark in done.remarks():
        print_text(remark)
    if done.test:
        click.echo()
        lines = verdict.lines_of(done.test)
        print_verdict(lines, *verdict.table(lines))
