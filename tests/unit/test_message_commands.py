"""Each command that a message names can be called: its subcommands and its options are there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import click
import pytest
from import_graph import modules, tree
from messages import FILLED, text_of, texts

from deeptool.cli import cli as deeptool
from hpc.cli import cli as deeptool_hpc

PROGRAMS: dict[str, click.Command] = {"deeptool": deeptool, "deeptool-hpc": deeptool_hpc}
# Of pip, and what every command of ours takes.
FOREIGN = {"--upgrade", "--debug", "--help", "--version"}
# Where a sentence is about the program, and calls nothing.
PROSE = re.compile(r"deeptool(-hpc)?( (makes|that|writes)\b|[^ \w-]|$)")


def calls(text: str) -> Iterator[tuple[str, list[str]]]:
    """Program and words of each command line that a text holds; a word ends it, or a sign does."""
    for match in re.finditer(r"(?<![\w./-])(deeptool-hpc|deeptool) (?=[a-z])([^;,()\n]*)", text):
        if not PROSE.match(match[0]):
            yield match[1], match[2].split()


def problem(program: str, words: list[str]) -> str:
    """What is wrong with a command line; empty where nothing is."""
    command, path = PROGRAMS[program], program
    words = [word.strip(".:'`\"") for word in words]
    while isinstance(command, click.Group):
        name = words.pop(0) if words else ""
        found = command.get_command(click.Context(command), name)
        if found is None:
            # The name may be filled in.
            return "" if FILLED in name else f"{path} has no command {name!r}"
        command, path = found, f"{path} {name}"
    known = {each for option in command.params for each in (*option.opts, *option.secondary_opts)}
    for word in words:
        option = word.split("=")[0].split(FILLED)[0]
        if option.startswith("--") and len(option) > 2 and option not in known | FOREIGN:
            return f"{path} has no option {option}"
    return ""


def every_option(command: click.Command) -> Iterator[str]:
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            found = command.get_command(click.Context(command), name)
            if found is not None:
                yield from every_option(found)
    for option in command.params:
        yield from (*option.opts, *option.secondary_opts)


def test_commands_in_messages_can_be_called() -> None:
    wrong = {
        f"{' '.join([program, *words])!r}: {why}"
        for text in texts()
        for program, words in calls(text)
        if (why := problem(program, words))
    }
    assert not wrong, "\n" + "\n".join(sorted(wrong))


def test_options_in_the_advice_of_an_error_are_there() -> None:
    known = {each for program in PROGRAMS.values() for each in every_option(program)} | FOREIGN
    wrong = set()
    for package in ("deeptool", "hpc"):
        for name, file in modules(package).items():
            for node in ast.walk(tree(file)):
                if isinstance(node, ast.keyword) and node.arg in ("next_step", "valid"):
                    advice = text_of(node.value) or ""
                    said = re.findall(r"(?<![\w-])--[a-z][a-zA-Z_-]+", advice)
                    wrong |= {f"{name}: {each}" for each in said if each not in known}
    assert not wrong, "\n" + "\n".join(sorted(wrong))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("start it: deeptool-hpc broker up --dir D --detach", ""),
        ("deeptool inspekt lists what is stored", "deeptool has no command 'inspekt'"),
        ("deeptool produce --reuse --replase; then", "deeptool produce has no option --replase"),
        ("deeptool-hpc broker ups --dir D", "deeptool-hpc broker has no command 'ups'"),
        (f"run deeptool-hpc logs {FILLED} trial {FILLED}; the same launch", ""),
    ],
)
def test_what_cannot_be_called_is_found(text: str, why: str) -> None:
    assert [problem(*call) for call in calls(text)] == [why]
