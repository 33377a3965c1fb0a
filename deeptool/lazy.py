"""Commands of a command line, imported when they are called."""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping
from typing import Any

import click


class LazyGroup(click.Group):
    """A group whose commands live in ``<package>.<name>``, as ``command``.

    Parameters
    ----------
    package : str
        The package of their modules.
    summaries : mapping of str to str
        A line of help for each name: to list them imports none.
    hidden : collection of str
        Names that are not listed.
    """

    def __init__(
        self,
        *arguments: Any,
        package: str,
        summaries: Mapping[str, str],
        hidden: Collection[str] = (),
        **options: Any,
    ) -> None:
        super().__init__(*arguments, **options)
        self._package, self._summaries, self._hidden = package, summaries, hidden

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._summaries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._summaries and cmd_name not in self._hidden:
            return None
        module = importlib.import_module(f"{self._package}.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(self._summaries.items()))
