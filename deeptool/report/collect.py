"""What a run folder holds, as one plain value that every form of the report is made of."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from deeptool.errors import UserError, WorkError
from deeptool.files import read_json
from deeptool.report.savings import account

_LOG_LINES = 12
_LARGER_IS_BETTER = ("acc", "auc", "precision", "recall", "f1", "iou", "dice", "r2", "top_k")
_ENDS = ("complete", "diverged")
_FROM_RESULT = (
    *("status", "data_from", "epochs_run", "epochs_planned", "best_epoch", "best", "final"),
    *("samples_read", "records_read", "bytes_read", "input_cpu_seconds", "cpu_seconds"),
    *("wall_seconds", "started", "finished", "session_name", "session_dir", "notes", "error"),
)


def summarize(run_dir: Path) -> dict[str, Any]:
    """Read a campaign's run folder, or a folder of session folders.

    Parameters
    ----------
    run_dir : Path
        With ``trials/<i>/`` and ``summary.json`` as ``deeptool-hpc launch`` leaves them; or with
        session folders (each with a ``result.json``); or one session folder itself.

    Returns
    -------
    dict
        JSON-able. ``name``, ``started``, ``finished`` (Unix time), ``monitor``, ``metric`` (what
        trials are ranked by), ``varied`` (the hparams that differ between trials), ``trials``
        (best first, then those that diverged, then those without a result), ``outdated`` (trials
        that would be made another way now: neither ranked nor counted), ``broker``, ``uploads``,
        ``savings`` (see `deeptool.report.savings.account`), ``plan`` (what ``deeptool plan --save``
        measured, or None), ``timeline``, ``pictures`` (paths below the folder).

    Raises
    ------
    UserError
        There is no trial in the folder.
    WorkError
        A file is damaged.
    """
    about = _json(run_dir / "summary.json") or {}
    timeline = about.get("timeline") or []
    found = [
        _trial(run_dir, folder, place, timeline)
        for place, folder in enumerate(_trial_folders(run_dir))
    ]
    reasons = _json(run_dir / "outdated.json") or {}
    trials = [trial for trial in found if str(trial["index"]) not in reasons]
    outdated = [
        _outdated(trial, reasons[str(trial["index"])])
        for trial in found
        if str(trial["index"]) in reasons
    ]
    uploads = [row for row in about.get("uploads") or [] if row.get("state") == "complete"]
    broker = about.get("broker")
    # What was stored for outdated trials is not stored any more, so that it cannot be compared.
    savings = account(trials, uploads, (broker or {}).get("cpu_seconds"))
    metric = _metric(trials)
    return {
        "name": about.get("name") or run_dir.resolve().name,
        "run_dir": str(run_dir),
        "started": about.get("started") or _extreme(min, found, "started"),
        "finished": about.get("finished") or _extreme(max, found, "finished"),
        "metric": metric,
        "larger_is_better": larger_is_better(metric),
        "varied": _varied(trials),
        "trials": sorted(trials, key=lambda trial: _rank(trial, metric)),
        "outdated": outdated,
        "broker": broker,
        "uploads": uploads,
        "savings": savings,
        "plan": _json(run_dir / "advice.json"),
        "timeline": timeline or _timeline_of(trials),
        "pictures": sorted(
            str(path.relative_to(run_dir)) for path in (run_dir / "report").glob("samples_*.png")
        ),
    }


def larger_is_better(metric: str) -> bool:
    """Whether a metric of this name is one to maximize, as far as its name tells."""
    return any(part in metric.lower() for part in _LARGER_IS_BETTER)


def _trial_folders(run_dir: Path) -> list[Path]:
    if not run_dir.is_dir():
        raise UserError("there is no such run folder", seen=str(run_dir))
    planned = [path for path in (run_dir / "trials").glob("*") if path.is_dir()]
    if planned:
        return sorted(planned, key=lambda path: (len(path.name), path.name))
    if (run_dir / "result.json").exists():
        return [run_dir]
    found = sorted(path.parent for path in run_dir.glob("*/result.json"))
    if found:
        return found
    raise UserError(
        "there is no trial in this folder",
        seen=str(run_dir),
        valid="the run folder of deeptool-hpc launch, or a folder of session folders "
        "(workingFolder), each with a result.json",
    )


def _trial(
    run_dir: Path, folder: Path, place: int, timeline: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    planned = _json(folder / "trial.json") or {}
    result = _json(folder / "result.json") or {}
    index = planned.get("index", place)
    trial = {
        "index": index,
        "folder": str(folder.relative_to(run_dir)),
        "hparams": {**planned.get("hparams", {}), **result.get("hparams", {})},
        "proc_id": planned.get("proc_id", result.get("proc_id")),
        "planned_hparams": sorted(planned.get("hparams", {})),
        "monitor": result.get("monitor", "val_loss"),
        **{name: result.get(name) for name in _FROM_RESULT},
        "history": _history(folder / "history.csv"),
    }
    trial |= {name: _finite(trial[name] or {}) for name in ("best", "final")}
    trial["notes"] = trial["notes"] or []
    if not result:
        states = [row["state"] for row in timeline if row.get("name") == f"trial-{index}"]
        trial["status"] = states[0] if states and states[0] != "complete" else "unfinished"
        trial["error"] = _log_end(run_dir / "logs" / f"trial-{index}.log")
    return trial


def _outdated(trial: Mapping[str, Any], why: str) -> dict[str, Any]:
    """A trial that is shown apart, and why."""
    unknown = {"pipeline_cpu_seconds": None, "saved_cpu_seconds": None}
    return {**trial, **unknown, "status": "outdated", "why": why}


def _history(path: Path) -> dict[str, list[float | None]]:
    """The columns of a history.csv; what is no finite number is None."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        return {}
    names = [name for name in (rows[0] if rows else {}) if name]
    return {name: [_number(row.get(name)) for row in rows] for name in names}


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _finite(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics, where those of a trial that diverged are None: nothing can be compared with them."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in metrics.items()
    }


def _log_end(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return "it left no result"
    shown = [line for line in lines if line.strip()][-_LOG_LINES:]
    return "\n".join(["it left no result; its log ends:", *shown])


def _json(path: Path) -> Any:
    try:
        return read_json(path)
    except ValueError as error:
        raise WorkError("a file of the run folder is not JSON", seen=f"{path}: {error}") from error


def _metric(trials: Sequence[Mapping[str, Any]]) -> str:
    """What people rank by: the first validation metric to maximize, else what training monitors."""
    names: list[str] = list(dict.fromkeys(name for trial in trials for name in trial["best"]))
    better = [name for name in names if name.startswith("val_") and larger_is_better(name)]
    if better:
        return better[0]
    return str(trials[0]["monitor"]) if trials else "val_loss"


def _rank(trial: Mapping[str, Any], metric: str) -> tuple[int, bool, float, float, int]:
    def worse(name: str) -> float:
        value = trial["best"].get(name)
        return 0.0 if value is None else -value if larger_is_better(name) else value

    unknown = trial["best"].get(metric) is None
    # Where the metric does not tell two apart, what training monitors does.
    worst = worse(metric), worse(str(trial["monitor"]))
    # However good it was before, a trial that diverged comes after all that did not.
    order = _ENDS.index(trial["status"]) if trial["status"] in _ENDS else len(_ENDS)
    return order, unknown, *worst, trial["index"]


def _varied(trials: Sequence[Mapping[str, Any]]) -> list[str]:
    """The hparams that differ between trials; a single trial's are those that its plan names."""
    names = list(dict.fromkeys(name for trial in trials for name in trial["hparams"]))
    if len(trials) == 1:
        return list(trials[0]["planned_hparams"])
    return [
        name
        for name in names
        if name != "procID" and len({repr(trial["hparams"].get(name)) for trial in trials}) > 1
    ]


def _timeline_of(trials: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "role": "trial",
            "name": f"trial-{trial['index']}",
            "start": trial["started"],
            "end": trial["finished"],
            "state": trial["status"],
        }
        for trial in trials
        if trial["started"] is not None and trial["finished"] is not None
    ]


def _extreme(choose: Any, trials: Iterable[Mapping[str, Any]], name: str) -> float | None:
    values = [trial[name] for trial in trials if trial[name] is not None]
    return choose(values) if values else None
