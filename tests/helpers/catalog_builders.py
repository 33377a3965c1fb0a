"""Short ways to write catalog events in tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from deeptool.catalog.events import Begun, Completed, Deleted, EpochStored, Failed, Progressed
from deeptool.client.topic_names import topic_name
from deeptool.codec.spec import Spec
from deeptool.codec.structure import Leaf

TOPIC = "s.0.train"
SPEC = Spec((Leaf("float32", (None, 2)), Leaf("int64", (None,))))


def begun(upload: str, **other: Any) -> Begun:
    session, proc_id = other.get("session", "s"), other.get("proc_id", 0)
    split = other.get("split", "train")
    values: dict[str, Any] = {
        "topic": topic_name(session, proc_id, split),
        "upload": upload,
        "owner": "me",
        "session": session,
        "proc_id": proc_id,
        "num_procs": 1,
        "split": split,
        "codec": "arrow",
        "element_spec": SPEC,
        "batch_size": 4,
        "hparams": {},
        "data_hparams": {},
        "settings_sha256": "5" * 64,
        "raw_data": {"digest": "d" * 64, "files": 1, "bytes": 10, "newest": 1.0},
        "heartbeat_seconds": 10.0,
        "start": {0: 0, 1: 0},
        "time": 1.0,
    }
    return Begun(**{**values, **other})


def progress(upload: str, beat: int = 1, topic: str = TOPIC, samples: int = 5) -> Progressed:
    return Progressed(topic, upload, beat, samples, 10 * samples, 2.0)


def completed(
    upload: str,
    topic: str = TOPIC,
    samples: Sequence[int] = (7,),
    data_hparams: Mapping[str, Any] | None = None,
    runs: Mapping[int, tuple[tuple[int, int], ...]] | None = None,
) -> Completed:
    epochs = tuple(
        EpochStored(count, 1, 10 * count, runs or {0: ((0, 1),)}, {0: "a" * 64})
        for count in samples
    )
    return Completed(topic, upload, epochs, data_hparams or {}, 3.0, 2.0, 1.5, 4.0)


def failed(upload: str, topic: str = TOPIC) -> Failed:
    return Failed(topic, upload, "the pipeline raised", 5.0)


def deleted(upload: str, topic: str = TOPIC) -> Deleted:
    return Deleted(topic, upload, 6.0)
