"""``deeptool produce``: run a settings file's pipeline once and upload its samples."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click
import psutil

from deeptool.catalog.catalog_log import CatalogLog
from deeptool.client.connection import connect
from deeptool.client.topic_names import SPLITS, check_topic
from deeptool.codec import CODECS, COMPRESSIONS, DEFAULT_CODEC
from deeptool.commands.check_output import check_and_print
from deeptool.commands.options import (
    client_properties_option,
    hparam_option,
    json_option,
    proc_id_option,
    server_option,
    settings_option,
    variant_option,
)
from deeptool.cpu_clock import seconds_with_children
from deeptool.errors import DeeptoolError, UserError
from deeptool.outcome import OutcomeFile, StoredTopic
from deeptool.producer.upload_request import UploadTuning
from deeptool.progress import shown
from deeptool.store.stored_uploads import complete_uploads

if TYPE_CHECKING:
    from deeptool.pipelines.split_probe import SplitProbe
    from deeptool.producer.settings_upload import SplitUpload, StoredSplit

_WAIT_SECONDS = 5.0
_AT_LEAST_1 = click.IntRange(min=1)


@click.command("produce", context_settings={"help_option_names": ["-h", "--help"]})
@settings_option
@server_option
@proc_id_option
@variant_option
@click.option(
    "-v", "--isvalidationdata", is_flag=True, help="Upload the validation set: --split val."
)
@click.option(
    "--split",
    type=click.Choice([*SPLITS, "both"]),
    help="Which set to upload; both: the validation set first.  [default: train]",
)
@click.option(
    "-q",
    "--overridequeue",
    "topic",
    metavar="TOPIC",
    help="Write to this topic.  [default: <session_name>.<procID>.<split>]",
)
@click.option(
    "-e",
    "--epochs",
    type=_AT_LEAST_1,
    metavar="E",
    default=1,
    show_default=True,
    help="How many passes over the pipeline to store.",
)
@click.option(
    "-c",
    "--check",
    is_flag=True,
    help="Write nothing: verify every stored record against its digest.",
)
@click.option("--replace", is_flag=True, help="Replace a complete dataset.")
@click.option(
    "--reuse",
    is_flag=True,
    help="Upload nothing where a complete dataset holds the same samples. Where it differs, fail;"
    " with --replace, or if $DEEPTOOL_OWNER uploaded it, upload again.",
)
@click.option(
    "--reuse-any", is_flag=True, help="Upload nothing where any dataset of this name is complete."
)
@click.option(
    "--num-procs",
    type=_AT_LEAST_1,
    metavar="M",
    help="Upload shard --procID of M: all shards together are one dataset.",
)
@click.option(
    "--auto-shard", is_flag=True, help="With --num-procs: take every M-th element of the pipeline."
)
@click.option(
    "--single-samples/--batches",
    "single",
    default=None,
    help="Whether an element of the pipeline is one sample, or a batch."
    "  [default: as batched says]",
)
@click.option(
    "--limit", type=_AT_LEAST_1, metavar="N", help="End each epoch after this many samples."
)
@click.option(
    "--codec",
    type=click.Choice(list(CODECS)),
    default=DEFAULT_CODEC,
    show_default=True,
    help="The format of a record.",
)
@click.option(
    "--partitions",
    type=_AT_LEAST_1,
    metavar="N",
    default=4,
    show_default=True,
    help="Partitions of a new topic.",
)
@click.option(
    "--compression",
    type=click.Choice(COMPRESSIONS),
    default="none",
    show_default=True,
    help="Compression of the records, on the network and on disk.",
)
@hparam_option
@client_properties_option
@click.option("--progress-file", metavar="FILE", help="Keep the progress in this file, as JSON.")
@json_option
def command(
    usersettings: str,
    servers: tuple[str, ...],
    proc_id: int | None,
    variant: int | None,
    isvalidationdata: bool,
    split: str | None,
    topic: str | None,
    check: bool,
    replace: bool,
    reuse: bool,
    reuse_any: bool,
    num_procs: int | None,
    auto_shard: bool,
    single: bool | None,
    hparams: dict[str, str],
    client_properties: str | None,
    progress_file: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Run a settings file's pipeline once and upload its samples to Kafka.

    The dataset exists once the command reports it. A producer that is interrupted leaves no
    dataset: run the same command again. With --reuse it skips the sets that are complete already.

    Whether a stored dataset holds the same samples is found by running the pipeline for some
    seconds ($DEEPTOOL_PROBE_SECONDS, 5 by default) and comparing digests of the samples. Where
    that does not reach the end, the code that get_input_pipeline uses must be the same as well.
    Comments, the optimizer, the number of epochs and the batch size make no difference.
    """
    splits = _splits(split, isvalidationdata)
    if topic is not None:
        check_topic(topic)
        if len(splits) > 1:
            raise UserError("--overridequeue names one topic", seen="--split both")
    if reuse_any and (replace or reuse):
        raise UserError("--reuse-any excludes --reuse and --replace")
    if variant is not None and num_procs is None:
        raise UserError(
            "--variant goes with --num-procs",
            seen=f"--variant {variant}",
            valid="--procID N alone for a variant that is uploaded by one process",
        )
    # TensorFlow must not take a GPU's whole memory for a pipeline that barely uses it.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    from deeptool.pipelines.pipeline_probe import ProbeRequest
    from deeptool.pipelines.split_probe import SplitProbe, probe_seconds
    from deeptool.producer.settings_upload import SplitUpload
    from deeptool.settings import load_settings

    made: dict[str, Any] = {"proc_id": proc_id, "num_procs": num_procs, "hparams": hparams}
    made["variant"] = variant
    batched = None if single is None else not single
    passes = {"limit": options["limit"], "epochs": options["epochs"], "auto_shard": auto_shard}
    with contextlib.ExitStack() as stack:
        # Before the settings run: then the probes' processes can be forked from this one.
        probes = [
            stack.enter_context(
                SplitProbe(
                    ProbeRequest(
                        usersettings, name, seconds=seconds, batched=batched, **made, **passes
                    )
                )
            )
            for seconds in (() if check else (probe_seconds(),))
            for name in splits
        ]
        # What the settings file prints must not mix with the JSON.
        with contextlib.redirect_stdout(sys.stderr if as_json else sys.stdout):
            settings = load_settings(usersettings, **made)
        for warning in settings.warnings:
            click.echo(f"warning: {warning}", err=True)
        settings.batched = settings.batched if batched is None else batched
        if auto_shard and settings.num_procs == 1:
            raise UserError(
                "--auto-shard needs the number of shards", next_step="give --num-procs M"
            )
        taking: dict[str, Any] = {
            "replace": replace,
            "any_stored": reuse_any,
            "auto_shard": auto_shard,
        }
        asked = [SplitUpload(settings, name, topic, **taking, **options) for name in splits]
        connection = connect(servers or tuple(settings.kafka_bootstrap_servers), client_properties)
        # One connection and one catalog for all that follows.
        log = CatalogLog(connection)
        if check:
            uploads = complete_uploads(log.read(), [one.target_topic for one in asked])
            check_and_print(connection, uploads, as_json)
            return
        asked_with_probes = list(zip(asked, probes, strict=True))
        tell = None if as_json else _print_stored
        with contextlib.redirect_stdout(sys.stderr if as_json else sys.stdout):
            stored = _produce(log, asked_with_probes, reuse or reuse_any, progress_file, tell)
    if as_json:
        click.echo(json.dumps([one.to_json() for one in stored], indent=1))
    # Only after success: a failed upload may have left a thread that still waits for the broker.
    log.close()


def _splits(split: str | None, isvalidationdata: bool) -> tuple[str, ...]:
    if isvalidationdata and split not in (None, "val"):
        raise UserError("--isvalidationdata and --split disagree", seen=f"--split {split}")
    if split == "both":
        # A trial may read the training set while it is uploaded, but validates on a whole set.
        return ("val", "train")
    return ("val" if isvalidationdata else split or "train",)


def _produce(
    log: CatalogLog,
    asked: list[tuple[SplitUpload, SplitProbe]],
    reuse: bool,
    progress_file: str | None,
    tell: Callable[[StoredSplit], None] | None,
) -> list[StoredSplit]:
    """Upload or reuse each split, and say so as each is done."""
    from deeptool.producer.settings_upload import SplitUpload, reusable_split, upload_split

    outcome_file = click.get_current_context().find_object(OutcomeFile)
    # The first upload is charged with what came before it: TensorFlow's import, the settings.
    charged_from = (psutil.Process().create_time(), 0.0)
    done: list[StoredSplit] = []
    for one, probe in asked:
        stored: StoredSplit | SplitUpload = one
        if reuse:
            stored = reusable_split(log, one, probe, lambda line: click.echo(line, err=True))
        if isinstance(stored, SplitUpload):
            with shown(f"upload {one.target_topic}", progress_file) as listener:
                tuning = UploadTuning(
                    listener=listener, on_wait=_seldom_told(), charged_from=charged_from
                )
                try:
                    stored = upload_split(log, stored, tuning, probe)
                except DeeptoolError as error:
                    raise partly_stored(error, done) from error
        charged_from = (time.time(), seconds_with_children())
        done.append(stored)
        if outcome_file is not None:
            outcome_file.add_stored(
                StoredTopic(stored.topic, stored.split, stored.samples, stored.bytes, stored.reused)
            )
        if tell is not None:
            tell(stored)
    return done


def partly_stored(error: DeeptoolError, done: Sequence[StoredSplit]) -> DeeptoolError:
    """The error of one split, which also says what was stored before it."""
    if not done:
        return error
    stored = ", ".join(one.topic for one in done)
    step = f"{stored} is stored; the same command with --reuse keeps it and uploads the rest"
    facts = {**error.details, "next_step": "; ".join(filter(None, (error.next_step, step)))}
    return type(error)(**facts)


def _seldom_told() -> Callable[[str], None]:
    """Show one line every `_WAIT_SECONDS` of those that come every second."""
    last = -_WAIT_SECONDS

    def tell(line: str) -> None:
        nonlocal last
        if time.monotonic() - last >= _WAIT_SECONDS:
            last = time.monotonic()
            click.echo(line, err=True)

    return tell


def _print_stored(stored: StoredSplit) -> None:
    number = len(stored.completed.epochs)
    epochs = f" in {number} epochs" if number > 1 else ""
    megabytes = f"{stored.bytes / 1e6:,.1f} MB"
    size = f"{stored.samples:,} samples{epochs}, records: {stored.records:,}, {megabytes}"
    if stored.reused:
        click.echo(f"{stored.topic}: is there already ({size})")
    else:
        click.echo(f"{stored.topic}: stored {size}, {stored.completed.wall_seconds:.1f} s")
