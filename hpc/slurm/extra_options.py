"""Which further options of sbatch a campaign may set, and which of them ask for GPUs."""

from __future__ import annotations

from collections.abc import Mapping

Option = bool | int | float | str

# What a campaign has keys of its own for.
_KEYS = {
    "partition": "partition",
    "account": "account",
    "time": "time",
    "cpus-per-task": "cpus",
    "mem": "memory",
}
# What each job of the chain has of its own.
_CHAIN = (
    *("array", "error", "input", "job-name", "kill-on-invalid-dep", "no-requeue", "nodes"),
    *("ntasks", "ntasks-per-node", "open-mode", "output", "parsable", "requeue", "signal"),
    *("test-only", "wait", "wrap"),
)
_GPUS = ("gpus", "gpus-per-node", "gpus-per-task", "gpus-per-socket")


def extra_options(options: Mapping[str, Option]) -> dict[str, Option]:
    """`options` under sbatch's names of them.

    Raises
    ------
    ValueError
        Naming those that would override what makes the jobs of a campaign one chain. A dependency
        would not: it comes to those that the jobs have on each other.
    """
    named = {key.lstrip("-").replace("_", "-"): value for key, value in options.items()}
    problems = [text for key, value in named.items() if (text := _why_not(key, value))]
    if problems:
        raise ValueError(f"options of sbatch, but not {'; '.join(problems)}")
    return named


def _why_not(key: str, value: Option) -> str:
    if key == "dependency":
        if isinstance(value, str) and "?" not in value:
            return ""
        return "a dependency other than text whose parts are joined by commas"
    if key in _KEYS:
        return f"{key}, which is the key {_KEYS[key]} here"
    if key in _CHAIN:
        return f"{key}, which the campaign's jobs need for themselves"
    # sbatch takes abbreviations, too, which would be neither merged nor refused.
    meant = [name for name in ("dependency", *_KEYS, *_CHAIN) if name.startswith(key)]
    return f"{key}, short for {' or '.join(meant)}" if meant and key not in _GPUS else ""


def asks_for_gpus(key: str, value: Option) -> bool:
    """Whether an option asks for GPUs."""
    return key in _GPUS or (key in ("gres", "tres-per-task") and "gpu" in str(value))
