"""``deeptool produce``: run a settings file's pipeline once and upload its samples."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
import psutil

from deeptool.catalog.events import Completed
from deeptool.catalog.fold import TopicState
from deeptool.catalog.log import CatalogLog
from deeptool.client.connection import Connection, connect
from deeptool.client.topic_names import SPLITS, check_topic, topic_name
from deeptool.codec import CODECS, COMPRESSIONS, DEFAULT_CODEC
from deeptool.commands.check import check_topics
from deeptool.commands.options import (
    client_properties_option,
    hparam_option,
    json_option,
    proc_id_option,
    server_option,
    settings_option,
)
from deeptool.errors import UserError
from deeptool.outcome import OutcomeFile, StoredTopic
from deeptool.progress import shown

if TYPE_CHECKING:
    from deeptool.settings import Settings

_WAIT_SECONDS = 5.0
_AT_LEAST_1 = click.IntRange(min=1)


@click.command("produce", context_settings={"help_option_names": ["-h", "--help"]})
@settings_option
@server_option
@proc_id_option
@click.option("-v", "--isvalidationdata", is_flag=True, help="The validation set: --split val.")
@click.option(
    "--split",
    type=click.Choice([*SPLITS, "both"]),
    help="Which set to upload; both: the validation set first.  [default: train]",
)
@click.option(
    "-q", "--overridequeue", "topic", metavar="TOPIC", help="Instead of the session's own topic."
)
@click.option(
    "-e", "--epochs", type=_AT_LEAST_1, default=1, show_default=True, help="Passes to store."
)
@click.option(
    "-c",
    "--check",
    is_flag=True,
    help="Write nothing: read what is stored, whole, and hold it against its digests.",
)
@click.option("--replace", is_flag=True, help="Upload over a complete dataset.")
@click.option("--reuse", is_flag=True, help="Take a complete dataset as it is if it is the same.")
@click.option("--num-procs", type=_AT_LEAST_1, metavar="M", help="procID is one of M shards.")
@click.option("--auto-shard", is_flag=True, help="Take every M-th element of the pipeline.")
@click.option("--limit", type=_AT_LEAST_1, metavar="N", help="Samples an epoch.")
@click.option("--codec", type=click.Choice(list(CODECS)), default=DEFAULT_CODEC, show_default=True)
@click.option("--partitions", type=_AT_LEAST_1, default=4, show_default=True)
@click.option("--compression", type=click.Choice(COMPRESSIONS), default="none", show_default=True)
@hparam_option
@client_properties_option
@click.option("--progress-file", metavar="FILE", help="Keep the progress there, as JSON.")
@json_option
def command(
    usersettings: str,
    servers: tuple[str, ...],
    proc_id: int | None,
    isvalidationdata: bool,
    split: str | None,
    topic: str | None,
    check: bool,
    num_procs: int | None,
    hparams: dict[str, str],
    client_properties: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Run a settings file's pipeline once and upload its samples to Kafka.

    The dataset is there once the command says so: a producer that dies halfway leaves nothing, and
    is simply started again; one that had both sets to upload with --reuse, which takes what is
    complete already.
    """
    splits = _splits(split, isvalidationdata)
    if topic is not None:
        check_topic(topic)
        if len(splits) > 1:
            raise UserError("--overridequeue names one topic", seen="--split both")
    if options["replace"] and options["reuse"]:
        raise UserError("--replace and --reuse exclude each other")
    # TensorFlow's own talk, and a GPU's whole memory, are not for a producer.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    from deeptool.settings import load_settings

    settings = load_settings(usersettings, proc_id=proc_id, num_procs=num_procs, hparams=hparams)
    if options["auto_shard"] and settings.num_procs == 1:
        raise UserError("--auto-shard needs the number of shards", next_step="give --num-procs M")
    connection = connect(servers or tuple(settings.kafka_bootstrap_servers), client_properties)
    topics = {s: topic or topic_name(settings.session_name, settings.proc_id, s) for s in splits}
    if check:
        check_topics(connection, list(topics.values()), as_json)
        return
    # The first upload is charged with what came before it: TensorFlow's import, the settings.
    since = (psutil.Process().create_time(), 0.0)
    rows = []
    outcome_file = click.get_current_context().find_object(OutcomeFile)
    for one, name in topics.items():
        row = _produce(settings, one, connection, name, since, **options)
        if outcome_file is not None:
            outcome_file.add_stored(
                StoredTopic(name, one, row["samples"], row["bytes"], row["reused"])
            )
        since = (time.time(), time.process_time())
        rows.append(row)
        if not as_json:
            click.echo(_described(row))
    if as_json:
        click.echo(json.dumps(rows, indent=1))


def _splits(split: str | None, isvalidationdata: bool) -> tuple[str, ...]:
    if isvalidationdata and split not in (None, "val"):
        raise UserError("--isvalidationdata and --split disagree", seen=f"--split {split}")
    if split == "both":
        # A trial may read the training set while it is uploaded, but validates on a whole set.
        return ("val", "train")
    return ("val" if isvalidationdata else split or "train",)


def _produce(
    settings: Settings,
    split: str,
    connection: Connection,
    topic: str,
    since: tuple[float, float],
    *,
    replace: bool,
    reuse: bool,
    auto_shard: bool,
    epochs: int,
    limit: int | None,
    codec: str,
    partitions: int,
    compression: str,
    progress_file: str | None,
) -> dict[str, Any]:
    """Upload one split; the facts of what is stored then."""
    from deeptool.producer import upload
    from deeptool.producer.experiment import Pipeline, check_reusable

    if reuse:
        with CatalogLog(connection) as log:
            current = log.read().get(topic, TopicState()).current
        if current is not None and current.completed is not None:
            check_reusable(
                settings, current, epochs=epochs, codec=codec, limit=limit, auto=auto_shard
            )
            return _facts(current.begun.topic, split, current.completed, reused=True)
    pipeline = Pipeline(settings, split, limit, auto_shard)
    with shown(f"upload {topic}", progress_file) as listener:
        completed = upload(
            pipeline,
            connection.servers,
            settings.session_name,
            split,
            proc_id=settings.proc_id,
            num_procs=settings.num_procs,
            auto_shard=auto_shard,
            codec=codec,
            partitions=partitions,
            compression=compression,
            epochs=epochs,
            limit=pipeline.limit,
            replace=replace,
            hparams=settings.hparams,
            data_hparams=settings.data_hparams,
            settings_sha256=settings.sha256,
            raw_data=settings.raw_data(split),
            batch_size=settings.batch_size,
            topic=topic,
            client_properties=connection.properties,
            progress=listener,
            on_wait=_seldom_told(),
            since=since,
        )
    return _facts(topic, split, completed, reused=False)


def _seldom_told() -> Callable[[str], None]:
    """Show a line of those that come every second, each `_WAIT_SECONDS`."""
    last = -_WAIT_SECONDS

    def tell(line: str) -> None:
        nonlocal last
        if time.monotonic() - last >= _WAIT_SECONDS:
            last = time.monotonic()
            click.echo(line, err=True)

    return tell


def _facts(topic: str, split: str, completed: Completed, *, reused: bool) -> dict[str, Any]:
    totals = {
        name: sum(getattr(epoch, name) for epoch in completed.epochs)
        for name in ("samples", "records", "bytes")
    }
    return {
        "topic": topic,
        "split": split,
        "upload": completed.upload,
        "reused": reused,
        **totals,
        "epochs": [
            {"samples": e.samples, "records": e.records, "bytes": e.bytes} for e in completed.epochs
        ],
        "data_hparams": dict(completed.data_hparams),
        "wall_seconds": completed.wall_seconds,
        "cpu_seconds": completed.cpu_seconds,
        "pipeline_cpu_seconds": completed.pipeline_cpu_seconds,
    }


def _described(row: dict[str, Any]) -> str:
    epochs = f" in {len(row['epochs'])} epochs" if len(row["epochs"]) > 1 else ""
    megabytes = f"{row['bytes'] / 1e6:,.1f} MB"
    size = f"{row['samples']:,} samples{epochs}, records: {row['records']:,}, {megabytes}"
    if row["reused"]:
        return f"{row['topic']}: is there already ({size})"
    return f"{row['topic']}: stored {size}, {row['wall_seconds']:.1f} s"
