"""What ``deeptool plan`` prints: what the samples depend on, what stages cost, what to store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from deeptool.report.advice_text import advice_lines, stage_rows


def print_plan(answer: Mapping[str, Any]) -> None:
    """The datasets, the hparams and the warnings."""
    click.echo("datasets")
    for row in answer["datasets"]:
        facts = row["facts"]
        read = facts["checkpoints"][-1][0] if facts["checkpoints"] else 0
        whole = "all" if facts["end"] is not None else "the first"
        click.echo(f"  {row['topic']}: {_state(row['stored'])}compared by {whole} {read:,} samples")
        for reason in (row["stored"] or {}).get("why", ()):
            click.echo(f"    {reason}")
    for title, name in (
        ("the samples depend on", "data_hparams"),
        ("free for trials to vary", "free_hparams"),
    ):
        click.echo(title)
        for key, why in answer[name].items():
            click.echo(f"  {key}: {why}")
        if not answer[name]:
            click.echo("  no hyperparameter")
    for row in answer["refused"]:
        click.echo(f"trial {row['trial']} is rejected: {row['message']}")
    for warning in answer["warnings"]:
        click.echo(f"warning: {warning}", err=True)


def print_costs(costs: Mapping[str, Any], advice: Mapping[str, Any]) -> None:
    """A table of the stages of each split, and the advice."""
    for split, row in costs["splits"].items():
        click.echo(f"stages of {split}, per sample (of {row['measured_samples']:,} measured)")
        for line in _table([("", "work", "bytes after it"), *stage_rows(row["stages"])]):
            click.echo(f"  {line}")
    for title, lines in advice_lines(costs, advice):
        click.echo(title)
        for line in lines:
            click.echo(f"  {line}")


def _table(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Names on the left, figures right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *figures in rows:
        right = (text.rjust(width) for text, width in zip(figures, widths[1:], strict=True))
        yield "  ".join([name.ljust(widths[0]), *right]).rstrip()


def _state(stored: Mapping[str, Any] | None) -> str:
    if stored is None:
        return ""
    return {
        "same": "stored, and the same; ",
        "different": "stored, but different; ",
        "absent": "not stored; ",
    }[stored["state"]]
