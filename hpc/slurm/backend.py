"""Campaigns on Slurm: everything is submitted at once, and continues without its launch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from hpc.broker import jars
from hpc.campaign.backend_traits import BackendTraits
from hpc.campaign.definition import Campaign
from hpc.campaign.plan import Plan
from hpc.processes import apptainer
from hpc.run.backend import LaunchContext, Seen, Stopped
from hpc.run.run_folder import RunFolder
from hpc.run.screen import Screen
from hpc.run.state import RunState
from hpc.slurm import scheduler
from hpc.slurm.finish import read_report
from hpc.slurm.observe import ask_slurm, observe
from hpc.slurm.queued import job_labels, live_jobs, wait_until_gone
from hpc.slurm.render import render_slurm
from hpc.slurm.resources import SlurmOptions
from hpc.slurm.stopping import stop_jobs
from hpc.slurm.submit import submit_all
from hpc.slurm.watching import watch_jobs


class SlurmBackend:
    """Implements `hpc.run.backend.Backend`."""

    traits = BackendTraits(
        images=True,
        # Other users of the cluster reach the same nodes.
        secured=True,
        detaches=True,
        options=SlurmOptions,
        watch_keys=("poll_seconds",),
        file_seconds=1.0,
        job_logs="logs/submitit",
    )

    def render(self, campaign: Campaign, plan: Plan) -> str:
        return render_slurm(campaign, plan)

    def observe(self, folder: RunFolder, state: RunState, *, ask: bool = True) -> RunState:
        return observe(folder, state, ask_slurm(state) if ask else None)

    def look(self, folder: RunFolder, state: RunState) -> Seen:
        scheduler.check_there()
        known = scheduler.queue()
        live = tuple(job_labels(state.id, known).values())
        return Seen(observe(folder, state, ask_slurm(state)), live, state.submitted)

    def check(self, campaign: Campaign, screen: Screen) -> None:
        scheduler.check_there()
        if unused := scheduler.unused_variables():
            screen.event(
                f"not used: {', '.join(unused)} of your environment. Say in [slurm] what the"
                " campaign's jobs are to have",
                "yellow",
            )
        own_broker = campaign.own_broker
        if campaign.in_images:
            images = campaign.images
            servers = (images.kafka, images.zookeeper) if own_broker else ()
            for image in (images.tensorflow, *servers):
                apptainer.check_image(image)
        elif own_broker:
            # Into the cache, which the nodes share: they may have no way to the internet.
            jars.runtime(lambda line: screen.event(line, "dim"), campaign.broker.mode)

    def end_earlier(self, folder: RunFolder, state: RunState, check: Callable[[], None]) -> None:
        live = live_jobs(state.id)
        scheduler.cancel(live)
        wait_until_gone(live, check)

    def start(self, context: LaunchContext, state: RunState) -> RunState:
        return submit_all(context, state)

    def watch(self, context: LaunchContext, state: RunState) -> None:
        watch_jobs(context, state)

    def finish(self, context: LaunchContext) -> tuple[Mapping[str, Any] | None, tuple[str, ...]]:
        # The last job has written the report, and let the brokers go.
        return read_report(context.folder), ()

    def down(self, folder: RunFolder, state: RunState) -> Stopped:
        return stop_jobs(folder, state)


BACKEND = SlurmBackend()
