"""Options that several commands share, and the command that holds the others."""

from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner

from deeptool.cli import COMMANDS, cli
from deeptool.commands import options
from deeptool.commands.inspect import rounded_span


@click.command()
@options.server_option
@options.client_properties_option
@options.settings_option
@options.json_option
@options.hparam_option
@options.proc_id_option
@options.padding_value_option
@click.pass_context
def command(context: click.Context, **values: Any) -> None:
    context.obj.update(values)


def parse(*args: str, **environment: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    result = CliRunner().invoke(command, ["-u", "f.py", *args], obj=values, env=environment)
    assert result.exit_code == 0, result.output
    return values


def refused(*args: str) -> str:
    result = CliRunner().invoke(command, ["-u", "f.py", *args], obj={})
    assert result.exit_code == 2
    return result.output


def test_what_is_passed_when_nothing_is_given() -> None:
    assert parse() == {
        "servers": (),
        "client_properties": None,
        "usersettings": "f.py",
        "as_json": False,
        "hparams": {},
        "proc_id": None,
        "padding_value": None,
    }


def test_servers_come_in_any_way() -> None:
    assert parse("-s", "a:1,b:2", "--server", "c:3")["servers"] == ("a:1", "b:2", "c:3")
    assert parse(DEEPTOOL_SERVER="a:1,b:2")["servers"] == ("a:1", "b:2")
    assert parse("-s", "c:3", DEEPTOOL_SERVER="a:1")["servers"] == ("c:3",)
    assert "a is not HOST:PORT" in refused("-s", "a")


def test_the_other_options() -> None:
    values = parse("-pid", "3", "--json", "--client-properties", "p", "--hparam", "a=b=c")
    assert (values["proc_id"], values["as_json"], values["client_properties"]) == (3, True, "p")
    assert values["hparams"] == {"a": "b=c"}
    assert parse("--procID", "0", "--hparam", "a=", "--hparam", "b=2")["hparams"] == {
        "a": "",
        "b": "2",
    }
    assert parse(DEEPTOOL_CLIENT_PROPERTIES="p")["client_properties"] == "p"


def test_padding_values() -> None:
    assert parse("--padding-value", "-1")["padding_value"] == -1
    assert parse("--padding-value", "nan")["padding_value"] != 0
    assert parse("--padding-value", "end")["padding_value"] == "end"
    values = parse("--padding-value", "0/ids=2", "--padding-value", "0/word=-")
    assert values["padding_value"] == {"0/ids": 2, "0/word": "-"}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--hparam", "a"), "'a' is not key=value"),
        (("--hparam", "=1"), "'=1' is not key=value"),
        (("--hparam", "a=1", "--hparam", "a=2"), "a is given twice"),
        (("-pid", "-1"), "-1 is not in the range x>=0"),
        (("--padding-value", "1", "--padding-value", "2"), "'1' is not key=value"),
        (("--procID", "x"), "'x' is not a valid integer"),
    ],
)
def test_values_of_another_form(args: tuple[str, ...], said: str) -> None:
    assert said in refused(*args)


def test_the_settings_file_is_needed() -> None:
    result = CliRunner().invoke(command, [], obj={})
    assert result.exit_code == 2
    assert "--usersettings" in result.output


def test_help_lists_every_command_without_importing_it() -> None:
    output = CliRunner().invoke(cli, ["-h"]).output
    for name, summary in COMMANDS.items():
        assert name in output
        assert summary in output
    assert CliRunner().invoke(cli, ["nonsense"]).exit_code == 2
    assert "--version" in output


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (119.9, "119 s"),
        (120, "2 min"),
        (7199, "119 min"),
        (7200, "2 h"),
        (172_799, "47 h"),
        (172_800, "2 d"),
        (10**7, "115 d"),
    ],
)
def test_spans_of_time(seconds: float, text: str) -> None:
    assert rounded_span(seconds) == text
