"""The report of a run folder: its figures, checked by hand, and the page that shows them."""

from __future__ import annotations

import csv
import itertools
import json
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fake_run import STARTED, fake_run, history, write

from deeptool.commands.report import command
from deeptool.errors import UserError, WorkError
from deeptool.report import summarize, write_report
from deeptool.report.figure_style import MUTED, metrics_of, trial_colours
from deeptool.report.page import render
from deeptool.report.savings import account
from deeptool.report.sections.hyperparameters import Axis, against_metric, parallel
from deeptool.report.sections.learning_curves import learning_curves
from deeptool.report.sections.run_timeline import timeline
from deeptool.report.text import amount, bytes_text, duration, number


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fake_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def summary(run_dir: Path) -> dict[str, Any]:
    return summarize(run_dir)


# ------------------------------------------------------------------ what is summed up


def test_the_run_in_short(summary: dict[str, Any]) -> None:
    assert (summary["name"], summary["started"], summary["finished"]) == (
        "digits",
        STARTED,
        STARTED + 61,
    )
    assert (summary["metric"], summary["larger_is_better"]) == ("val_accuracy", True)
    assert summary["varied"] == ["learning_rate", "augment", "image_size"]
    assert [row["topic"] for row in summary["uploads"]] == [
        "digits.0.train",
        "digits.0.val",
        "digits.1.train",
        "digits.1.val",
    ]
    json.dumps(summary, allow_nan=False)


def test_trials_stand_in_the_order_of_their_metric_and_those_without_one_last(
    summary: dict[str, Any],
) -> None:
    assert [trial["index"] for trial in summary["trials"]] == [3, 7, 2, 6, 1, 5, 0, 4, 8, 9]
    values = [trial["best"]["val_accuracy"] for trial in summary["trials"][:8]]
    assert values == sorted(values, reverse=True)


def test_what_became_of_trials_without_a_metric(summary: dict[str, Any]) -> None:
    failed, killed = summary["trials"][-2:]
    assert failed["status"] == "failed"
    assert failed["error"].startswith("ValueError")
    assert killed["status"] == "killed"
    assert killed["error"].splitlines() == [
        "it left no result; its log ends:",
        "starting",
        "reading digits.1.train",
        "Killed",
    ]


def test_the_launchs_own_plan_is_no_advice(tmp_path: Path) -> None:
    run = fake_run(tmp_path)
    write(run / "plan.json", {"name": "digits", "tasks": []})
    assert summarize(run)["plan"] is None
    assert write_report(summarize(run), run).exists()


def changed_run(folder: Path) -> Path:
    """A run whose best trial is outdated, and whose second best diverged in the end."""
    run = fake_run(folder)
    best, second = (trial["index"] for trial in summarize(run)["trials"][:2])
    write(run / "outdated.json", {str(best): "samples changed: scaling.py"})
    file = run / "trials" / str(second) / "result.json"
    result = json.loads(file.read_text())
    final = dict.fromkeys(result["final"], math.nan)
    write(file, {**result, "status": "diverged", "final": final})
    return run


def test_outdated_trials_stand_apart_and_diverged_ones_last(tmp_path: Path) -> None:
    before = summarize(fake_run(tmp_path / "before"))
    first, second, third = (trial["index"] for trial in before["trials"][:3])
    run = changed_run(tmp_path / "run")
    summary = summarize(run)
    assert summary["trials"][0]["index"] == third
    # After all that are complete, before those without any result.
    states = [trial["status"] for trial in summary["trials"]]
    assert states == ["complete"] * 6 + ["diverged", "failed", "killed"]
    assert summary["trials"][6]["index"] == second
    assert summary["trials"][6]["final"]["val_loss"] is None
    (outdated,) = summary["outdated"]
    assert (outdated["index"], outdated["status"]) == (first, "outdated")
    assert outdated["why"] == "samples changed: scaling.py"
    json.dumps(summary, allow_nan=False)
    assert summary["savings"]["trials_counted"] == before["savings"]["trials_counted"] - 1

    page = write_report(summary, run).read_text()
    assert "Outdated: 1, not compared with the others" in page
    assert "samples changed: scaling.py" in page
    assert "2 failed or unfinished, 1 diverged, 1 outdated" in page
    # No figure and no colour is an outdated trial's.
    assert f"trial {first}: " not in page
    rows = list(csv.DictReader((run / "report.csv").read_text().splitlines()))
    assert len(rows) == 10
    assert (rows[-1]["index"], rows[-1]["status"]) == (str(first), "outdated")
    assert rows[-1]["why"] == "samples changed: scaling.py"
    assert json.loads((run / "report.json").read_text())["outdated"][0]["index"] == first


def test_a_run_of_nothing_but_outdated_trials_has_a_report(tmp_path: Path) -> None:
    run = fake_run(tmp_path)
    write(run / "outdated.json", {str(index): "model.py" for index in range(10)})
    summary = summarize(run)
    assert summary["trials"] == []
    assert "Outdated: 10" in render(summary, run)


def test_savings_are_those_calculated_by_hand(summary: dict[str, Any]) -> None:
    savings = summary["savings"]
    # 4 trials x 10 epochs x 5 CPU s, and 4 x 10 x 10.
    assert savings["pipeline_cpu_seconds"] == pytest.approx(600)
    # 8 x 0.5, and the one that failed had read for 0.25.
    assert savings["input_cpu_seconds"] == pytest.approx(4.25)
    assert savings["producer_cpu_seconds"] == pytest.approx(9 + 3 + 17 + 5)
    assert savings["broker_cpu_seconds"] == 6
    assert savings["saved_cpu_seconds"] == pytest.approx(600 - 4.25 - 34 - 6)
    assert savings["saved_share"] == pytest.approx(555.75 / 600)
    assert savings["saved_per_trial_cpu_seconds"] == pytest.approx(596 / 8)
    assert savings["break_even_trials"] == 1
    assert [row["index"] for row in savings["left_out"]] == [8, 9]
    by_index = {trial["index"]: trial["saved_cpu_seconds"] for trial in summary["trials"]}
    assert by_index == {
        **dict.fromkeys(range(4), 49.5),
        **dict.fromkeys(range(4, 8), 99.5),
        8: None,
        9: None,
    }


def trial(**values: Any) -> dict[str, Any]:
    given = {
        "index": 0,
        "proc_id": 0,
        "data_from": "kafka",
        "epochs_run": 5,
        "input_cpu_seconds": 1.0,
    }
    return given | values


def stored(**values: Any) -> dict[str, Any]:
    given = {"proc_id": 0, "epochs": [{}], "cpu_seconds": 12.0, "pipeline_cpu_seconds": 2.0}
    return given | values


def test_break_even_is_where_the_fixed_cost_is_paid_back() -> None:
    savings = account([trial(), trial(index=1)], [stored()], 16.0)
    # A trial saves 5 x 2 - 1 = 9; 12 + 16 = 28 are paid back by the fourth.
    assert savings is not None
    assert savings["break_even_trials"] == 4
    assert savings["saved_cpu_seconds"] == -10


def test_reading_that_costs_as_much_as_preprocessing_never_pays() -> None:
    savings = account([trial(input_cpu_seconds=10.0)], [stored()], None)
    assert savings is not None
    assert savings["break_even_trials"] is None
    assert savings["broker_cpu_seconds"] is None
    assert savings["saved_cpu_seconds"] == -12


def test_shards_are_one_dataset() -> None:
    shards = [stored(), stored(proc_id=1, pipeline_cpu_seconds=3.0)]
    trials = [trial(proc_id=None)]
    savings = account(trials, shards, None)
    assert savings is not None
    assert savings["pipeline_cpu_seconds"] == 25
    assert trials[0]["saved_cpu_seconds"] == 24


@pytest.mark.parametrize(
    ("changed", "upload", "why"),
    [
        ({"data_from": "pipeline"}, {}, "ran the input pipeline itself"),
        ({"epochs_run": 0}, {}, "no epoch"),
        ({"proc_id": 4}, {}, "not measured"),
        ({}, {"pipeline_cpu_seconds": None}, "not measured"),
        ({"input_cpu_seconds": None}, {}, "reading was not measured"),
    ],
)
def test_what_cannot_be_told_is_not_credited(
    changed: dict[str, Any], upload: dict[str, Any], why: str
) -> None:
    trials = [trial(**changed), trial(index=1, proc_id=1)]
    savings = account(trials, [stored(**upload), stored(proc_id=1)], None)
    assert savings is not None
    assert [(row["index"], why in row["why"]) for row in savings["left_out"]] == [(0, True)]
    assert trials[0]["saved_cpu_seconds"] is None
    assert (savings["trials_counted"], savings["pipeline_cpu_seconds"]) == (1, 10)
    # What it read is charged only where its pipeline's share is known: nothing, without an epoch.
    assert savings["input_cpu_seconds"] == (2 if changed.get("epochs_run") == 0 else 1)
    assert account(trials[:1], [stored(**upload)], None) is None


# ------------------------------------------------------------------ other folders


def session(folder: Path, **values: Any) -> None:
    folder.mkdir(parents=True)
    last = history(folder, 0.001, 3)
    best = {name: last[name] for name in ("loss", "val_loss")}
    result = {
        "status": "complete",
        "hparams": {"lr": 0.1, "layers": [8, 8], "name": "a"},
        "data_from": "pipeline",
        "epochs_run": 3,
        "epochs_planned": 3,
        "best_epoch": 3,
        "monitor": "val_loss",
        "best": best,
        "final": best,
        "started": STARTED,
        "finished": STARTED + 5,
        "wall_seconds": 5.0,
        "samples_read": 10,
        "error": None,
    }
    write(folder / "result.json", result | values)


def test_session_folders_without_a_campaign(tmp_path: Path) -> None:
    session(tmp_path / "b", best={"val_loss": 0.5})
    session(tmp_path / "a", best={"val_loss": 0.7}, hparams={"lr": 0.2, "name": "b"})
    (tmp_path / "not a session").mkdir()
    summary = summarize(tmp_path)
    assert [trial["folder"] for trial in summary["trials"]] == ["b", "a"]
    assert (summary["metric"], summary["varied"]) == ("val_loss", ["lr", "name", "layers"])
    assert summary["savings"] is None
    assert [row["end"] for row in summary["timeline"]] == [STARTED + 5] * 2
    page = write_report(summary, tmp_path).read_text()
    assert "CPU time saved" not in page
    assert "Learning curves" in page


def test_a_trial_that_diverged_comes_after_those_that_did_not(tmp_path: Path) -> None:
    why = "diverged: loss was nan in epoch 3"
    session(tmp_path / "a", best={"val_loss": 0.1}, status="diverged", error=why)
    session(tmp_path / "b", best={"val_loss": 0.7})
    session(tmp_path / "c", best={"val_loss": 0.2}, status="failed")
    summary = summarize(tmp_path)
    assert [trial["folder"] for trial in summary["trials"]] == ["b", "a", "c"]
    page = render(summary, tmp_path)
    assert "1 failed or unfinished, 1 diverged" in page
    assert '<span class="pill diverged">diverged</span>' in page
    assert why in page


def test_one_session_folder(tmp_path: Path) -> None:
    session(tmp_path / "only")
    summary = summarize(tmp_path / "only")
    assert len(summary["trials"]) == 1
    assert "Learning curves" in render(summary, tmp_path / "only")


def test_a_run_of_nothing_but_failures_has_a_report(tmp_path: Path) -> None:
    for index in range(2):
        write(tmp_path / "trials" / str(index) / "trial.json", {"index": index, "hparams": {}})
    summary = summarize(tmp_path)
    assert [trial["status"] for trial in summary["trials"]] == ["unfinished"] * 2
    assert summary["trials"][0]["error"] == "it left no result"
    assert "it left no result" in render(summary, tmp_path)


@pytest.mark.parametrize("name", ["", "missing"])
def test_a_folder_without_trials_is_the_users_to_correct(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError):
        summarize(tmp_path / name)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    session(tmp_path / "a")
    (tmp_path / "a" / "result.json").write_text("{")
    with pytest.raises(WorkError) as error:
        summarize(tmp_path)
    assert "a/result.json" in str(error.value)


def test_histories_that_are_not_finite_are_gaps(tmp_path: Path) -> None:
    session(tmp_path / "a")
    (tmp_path / "a" / "history.csv").write_text("epoch,loss,val_loss\n1,nan,0.5\n2,inf\n")
    trials = summarize(tmp_path)["trials"]
    assert trials[0]["history"] == {
        "epoch": [1.0, 2.0],
        "loss": [None, None],
        "val_loss": [0.5, None],
    }


# ------------------------------------------------------------------ plots


def test_curves_of_every_trial_and_both_splits(summary: dict[str, Any]) -> None:
    data = learning_curves(summary, "loss")["data"]
    assert len(data) == 16
    solid = [trace for trace in data if trace["line"]["dash"] == "solid"]
    assert solid[-1]["y"] == summary["trials"][0]["history"]["val_loss"]
    assert solid[-1]["x"] == list(range(1, 11))
    assert metrics_of(summary) == ["accuracy", "loss"]


def test_what_is_not_validated_is_drawn_as_well(summary: dict[str, Any]) -> None:
    for each in summary["trials"]:
        each["history"] |= {"learning_rate": [0.1] * len(each["history"].get("epoch", []))}
    assert metrics_of(summary) == ["accuracy", "loss", "learning_rate"]
    data = learning_curves(summary, "learning_rate")["data"]
    assert [trace["line"]["dash"] for trace in data] == ["solid"] * 8


def test_hparams_are_drawn_where_they_vary(summary: dict[str, Any]) -> None:
    figure = against_metric(summary, "learning_rate", "val_loss")
    assert figure is not None
    assert figure["layout"]["xaxis"]["type"] == "log"
    assert sorted(set(figure["data"][0]["x"])) == [0.0005, 0.001, 0.005, 0.01]
    # Only trials without a result had another strength.
    assert against_metric(summary, "augment", "val_loss") is None


def test_parallel_axes_are_scaled_each_by_itself(summary: dict[str, Any]) -> None:
    figure = parallel(summary, "val_accuracy")
    assert figure is not None
    assert figure["layout"]["xaxis"]["ticktext"] == [
        "learning_rate",
        "image_size",
        "best val_accuracy",
    ]
    assert len(figure["data"]) == 8
    best = figure["data"][-1]["y"]
    assert best == [1.0, 0.0, 1.0]


def test_axes_hold_words_and_lists_too() -> None:
    axis = Axis("optimizer", ["sgd", "adam", [8, 8]])
    assert axis.heights == [1.0, 0.5, 0.0]
    assert axis.ticks == [(0.0, "[8, 8]"), (0.5, "adam"), (1.0, "sgd")]


def test_ticks_do_not_stand_on_each_other() -> None:
    axis = Axis("best loss", [i / 200 for i in range(200)] + [0.9999], measured=True)
    heights = [height for height, _ in axis.ticks]
    assert min(b - a for a, b in itertools.pairwise(heights)) >= 0.07
    assert axis.ticks[0] == (0.0, "0")
    assert axis.ticks[-1] == (1.0, "0.9999")


def test_the_eleventh_trial_is_muted() -> None:
    trials = [{"index": index} for index in range(12)]
    assert [colour == MUTED for colour in trial_colours(trials).values()] == [False] * 10 + [
        True
    ] * 2


def test_a_process_that_runs_on_is_drawn_to_the_last_moment() -> None:
    rows = [
        {"role": "broker", "name": "broker", "start": 10.0, "end": None, "state": "ready"},
        {"role": "trial", "name": "trial-0", "start": 12.0, "end": 15.0, "state": "failed"},
        {"role": "trial", "name": "trial-1", "start": None, "end": None, "state": "waiting"},
    ]
    broker, trials = timeline(rows)["data"]
    assert (broker["base"], broker["x"]) == ([0.0], [5.0])
    assert trials["y"] == ["trial-0"]
    assert trials["text"] == ["failed"]


# ------------------------------------------------------------------ the page and its data


class Page(HTMLParser):
    """What a page asks of other files, and whether its tags match."""

    EMPTY = ("meta", "link", "img", "br")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.asked: list[str] = []
        self.rows = 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.EMPTY:
            self.open.append(tag)
        self.rows += tag == "tr"
        self.asked += [value or "" for name, value in attrs if name in ("src", "href", "action")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_asks_for_nothing(summary: dict[str, Any], run_dir: Path) -> None:
    (run_dir / "report").mkdir(exist_ok=True)
    (run_dir / "report" / "samples_digits.0.train.png").write_bytes(b"\x89PNG")
    summary = summarize(run_dir)
    assert summary["pictures"] == ["report/samples_digits.0.train.png"]
    text = render(summary, run_dir)
    page = Page(text)
    assert page.open == []
    assert [asked for asked in page.asked if not asked.startswith("data:")] == []
    assert "data:image/png;base64,iVBORw==" in page.asked
    assert not re.search(r"@import|url\(\s*['\"]?http", text[: text.index("<script>")])
    # 10 trials, 4 stored datasets, 2 heads, 3 terms and their sum, 3 other ways.
    assert page.rows == 10 + 4 + 2 + 7
    assert "was uploaded by an earlier release" in text
    assert "555.8 CPU s saved against preprocessing in every epoch" in text


def test_a_run_that_lost_says_so_first(tmp_path: Path) -> None:
    run_dir = fake_run(tmp_path)
    about = json.loads((run_dir / "summary.json").read_text())
    ways = {"cache_seconds": 1e-6, "save_seconds": 1e-6, "load_seconds": 1e-6, "failed": ""}
    for upload in about["uploads"]:
        upload["other_ways"] = ways
    write(run_dir / "summary.json", about)
    summary = summarize(run_dir)
    assert summary["savings"]["cheapest"] == "save"
    text = render(summary, run_dir)
    cards = text[text.index('class="cards"') : text.index("<section")]
    assert "CPU time lost" in cards
    assert "one dataset.save() would have cost less" in cards
    assert "CPU s lost: one dataset.save() would have cost less" in text


def test_what_several_trials_were_told_stands_there_once(
    run_dir: Path, summary: dict[str, Any]
) -> None:
    for each in summary["trials"][:2]:
        each["notes"] = ["no GPU here"]
    assert "<li>trial 3, 7: no GPU here</li>" in render(summary, run_dir)


def test_what_users_write_stays_text(run_dir: Path, summary: dict[str, Any]) -> None:
    summary["name"] = "</title><script>alert(1)</script>"
    summary["trials"][0]["hparams"]["learning_rate"] = "</script><b>"
    text = render(summary, run_dir)
    assert "<script>alert" not in text
    assert "</script><b>" not in text
    assert Page(text).open == []


def test_the_csv_has_a_row_a_trial(run_dir: Path, summary: dict[str, Any]) -> None:
    write_report(summary, run_dir)
    with open(run_dir / "report.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["index"]) for row in rows] == [3, 7, 2, 6, 1, 5, 0, 4, 8, 9]
    assert float(rows[0]["hparam.learning_rate"]) == 0.01
    assert float(rows[0]["best.val_accuracy"]) == summary["trials"][0]["best"]["val_accuracy"]
    assert float(rows[0]["saved_cpu_seconds"]) == 49.5
    assert rows[8]["error"].startswith("ValueError")
    assert rows[8]["best.val_loss"] == ""


def test_the_command_prints_the_page_or_the_json(run_dir: Path) -> None:
    printed = CliRunner().invoke(command, [str(run_dir)], catch_exceptions=False)
    assert printed.output.strip() == str(run_dir / "report.html")
    as_json = CliRunner().invoke(command, [str(run_dir), "--json"], catch_exceptions=False)
    assert json.loads(as_json.output) == json.loads((run_dir / "report.json").read_text())
    assert json.loads(as_json.output)["savings"]["break_even_trials"] == 1


def test_the_command_opens_a_browser_when_asked(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    CliRunner().invoke(command, [str(run_dir), "--open", "no"], catch_exceptions=False)
    assert opened == []
    CliRunner().invoke(command, [str(run_dir), "--open", "yes"], catch_exceptions=False)
    assert opened == [(run_dir / "report.html").as_uri()]


def test_a_folder_that_cannot_be_written(
    run_dir: Path, summary: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(run_dir))

    monkeypatch.setattr("deeptool.report.write.write_text", refuse)
    with pytest.raises(UserError, match="cannot be written"):
        write_report(summary, run_dir)


@pytest.mark.parametrize(
    ("write_number", "value", "text"),
    [
        (number, None, "-"),
        (number, 3, "3"),
        (number, 0.0, "0.0000"),
        (number, 0.94761, "0.9476"),
        (number, 12.3456, "12.35"),
        (number, 123.456, "123.5"),
        (number, 12345.6, "12,346"),
        (number, 0.00001234, "1.23e-05"),
        (amount, None, "-"),
        (amount, 1234567, "1,234,567"),
        (bytes_text, 12, "12 B"),
        (bytes_text, 983_000_000, "983 MB"),
        (duration, 4.256, "4.26 s"),
        (duration, -400, "-6.67 min"),
        (duration, 9000, "2.5 h"),
    ],
)
def test_numbers_for_people(write_number: Callable[[Any], str], value: Any, text: str) -> None:
    assert write_number(value) == text
