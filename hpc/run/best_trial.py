"""The best trial of a launch: what it came to, where its model is, how to train it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from hpc.campaign.definition import Campaign
from hpc.run.screen import number


def best_trial_lines(campaign: Campaign, report: Mapping[str, Any]) -> Iterator[str]:
    """What a terminal says at the end of a launch; nothing where no trial has a result.

    Parameters
    ----------
    campaign : Campaign
        What was launched.
    report : mapping
        What ``deeptool report --json`` says.
    """
    trials = [each for each in report.get("trials", ()) if each["status"] == "complete"]
    if not trials or trials[0]["best_epoch"] is None:
        return
    best, metric = trials[0], report["metric"]
    names = report["varied"] or best["planned_hparams"]
    hparams = ", ".join(f"{name}={best['hparams'].get(name)}" for name in names)
    value = number(best["best"].get(metric))
    yield f"best trial: {best['index']}, {metric} {value} in epoch {best['best_epoch']}: {hparams}"
    model = campaign.folder / str(best["folder"]) / "model.keras"
    if model.exists():
        yield f"  its model: {model}"
    yield f"  train it again: {again_command(campaign, best)}"


def again_command(campaign: Campaign, trial: Mapping[str, Any]) -> str:
    """A command line that trains as a trial did.

    From the campaign's Kafka where that is still there after a launch, else from the pipeline.
    """
    broker, proc_id = campaign.broker, trial["proc_id"]
    words = ["deeptool", "train", "--usersettings", str(campaign.settings)]
    shards = campaign.producers.num_procs is not None
    if proc_id is not None and not (shards and not broker.bootstrap_servers):
        words += ["--variant" if shards else "--procID", str(proc_id)]
    for name in trial["planned_hparams"]:
        words += ["--hparam", f"{name}={trial['hparams'][name]}"]
    if broker.bootstrap_servers:
        words += ["--kafka", "--server", ",".join(broker.bootstrap_servers)]
        properties = broker.client_properties
        words += [] if properties is None else ["--client-properties", str(properties)]
    else:
        words += ["--no-kafka"]
    return shlex.join([*words, *(campaign.trials.options if campaign.trials else ())])
