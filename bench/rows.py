"""The rows of the tables: what each is, who measures it, and in which of the runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class WorkerPlan:
    """A process that measures.

    Attributes
    ----------
    name : str
    environment : str
        The folder of its Python environment.
    modules : tuple of str
        In the order in which they prepare.
    packages : tuple of str
        Whose versions are told with the results, besides those of `.venv`.
    """

    name: str
    environment: str
    modules: tuple[str, ...]
    packages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """A contender, as tables and plots show it.

    Attributes
    ----------
    name, module : str
        Of the contender, and of the module that offers it.
    how : str
        What it does, in a line.
    quick : bool
        Whether `make bench-quick` measures it.
    stores : bool
        Whether it writes to the disk, and is measured before those that only read.
    """

    name: str
    module: str
    how: str
    quick: bool = False
    stores: bool = False

    @property
    def ours(self) -> bool:
        """Whether it is ours: it must not be missing."""
        return self.module in OURS


OURS = ("bench.ours_tf", "bench.ours_numpy", "bench.eight_readers")
_TF, _NUMPY, _EIGHT = OURS
_PEERS = "bench.peers."

# The first one uploads what the others read.
WORKERS = (
    WorkerPlan("ours, tf", ".venv", (_TF,)),
    WorkerPlan("ours, numpy", ".venv", (_NUMPY, _EIGHT)),
    WorkerPlan(
        "tf.data",
        ".venv",
        (
            _PEERS + "tfrecord",
            _PEERS + "saved_dataset",
            _PEERS + "data_service",
            _PEERS + "sample_per_record",
        ),
    ),
    WorkerPlan("Java", ".venv", (_PEERS + "java_clients",)),
    WorkerPlan("Lance", ".venv-bench", (_PEERS + "lance_table",), ("pylance",)),
    WorkerPlan("HF datasets", ".venv-bench", (_PEERS + "huggingface",), ("datasets",)),
    WorkerPlan("grain", ".venv-bench", (_PEERS + "grain_records",), ("grain", "array-record")),
    WorkerPlan("litdata", ".venv-bench", (_PEERS + "litdata_chunks",), ("litdata", "torch")),
)

UPLOAD, FILLING, FIRST = "upload", "filling a copy", "first batch"
TF_ORDERED, NUMPY_ORDERED = "broker in order, tf", "broker in order, numpy"
TF_BROKER, NUMPY_BROKER = "broker shuffled, tf", "broker shuffled, numpy"
TF_LATER, NUMPY_LATER = "later epochs, tf", "later epochs, numpy"
UNPACKED = "upload, a record per sample"
EIGHT = "eight readers, numpy"
JAVA_PRODUCER, JAVA_CONSUMER = "Java producer", "Java consumer"
TFRECORD_ORDERED, TFRECORD = "TFRecord in order", "TFRecord shuffled"
LOAD_ORDERED, LOAD, MEMORY = "Dataset.load in order", "Dataset.load shuffled", "memory shuffled"
SERVICE = "tf.data service"
LANCE, GRAIN, LITDATA = "Lance shuffled", "grain shuffled", "litdata shuffled"
HF_INDEX, HF_BUFFER = "HF datasets shuffled by index", "HF datasets shuffled in a buffer"
FROM_PYPI = (LANCE, HF_INDEX, HF_BUFFER, GRAIN, LITDATA)

_SAVED, _JAVA = _PEERS + "saved_dataset", _PEERS + "java_clients"
_HF, _GRAIN = _PEERS + "huggingface", _PEERS + "grain_records"
ROWS = (
    Row(UPLOAD, _TF, "`deeptool.upload` of batches in memory", True, True),
    Row(
        *(JAVA_PRODUCER, _JAVA, "ProducerPerformance, as many bytes in records of 1 MiB"),
        stores=True,
    ),
    Row(
        *(UNPACKED, _PEERS + "sample_per_record"),
        "eager tf.train.Example per sample, kafka-python, for 5 s",
        stores=True,
    ),
    Row(FILLING, _NUMPY, "pass 0 of a node without a copy: read, and left as a copy", True, True),
    Row(FIRST, _TF, "from `deeptool.open` to the first shuffled batch, no copy", True),
    Row(TF_ORDERED, _TF, '`data.tf(cache="off")`', True),
    Row(NUMPY_ORDERED, _NUMPY, '`data.numpy(cache="off")`', True),
    Row(JAVA_CONSUMER, _JAVA, "ConsumerPerformance on the topic of ours, MB.sec"),
    Row(TF_BROKER, _TF, '`data.tf(shuffle=True, cache="off")`', True),
    Row(NUMPY_BROKER, _NUMPY, '`data.numpy(shuffle=True, cache="off")`', True),
    Row(TFRECORD_ORDERED, _PEERS + "tfrecord", "8 files, parallel parse_example of batches", True),
    Row(LOAD_ORDERED, _SAVED, "batches as they were saved", True),
    Row("Lance in order", _PEERS + "lance_table", "`to_batches`"),
    Row("HF datasets in order", _HF, '`with_format("numpy").iter`'),
    Row("grain in order", _GRAIN, "ArrayRecord, records parsed in Python by two threads"),
    Row(
        "litdata in order",
        _PEERS + "litdata_chunks",
        "StreamingDataLoader of local chunks, at most 500,000 samples",
    ),
    Row(TF_LATER, _TF, '`data.tf(shuffle=True, order="global")` of a local copy', True),
    Row(NUMPY_LATER, _NUMPY, '`data.numpy(shuffle=True, order="global")` of a local copy', True),
    Row(EIGHT, _EIGHT, "eight processes read one copy: eight times the slowest of them"),
    Row(TFRECORD, _PEERS + "tfrecord", "files permuted, buffer of 10,000 samples", True),
    Row(LOAD, _SAVED, "unbatched, buffer of 10,000 samples", True),
    Row(MEMORY, _SAVED, "unbatched, `cache()`, buffer of all samples", True),
    Row(SERVICE, _PEERS + "data_service", "one worker reads `Dataset.load shuffled`", True),
    Row(LANCE, _PEERS + "lance_table", "`take` of a permutation, batch by batch"),
    Row(HF_INDEX, _HF, "`shuffle` of all rows, then `iter`"),
    Row(HF_BUFFER, _HF, "iterable, 8 shards, buffer of 10,000 samples"),
    Row(GRAIN, _GRAIN, "the same, `shuffle` of all records"),
    Row(LITDATA, _PEERS + "litdata_chunks", "the same, chunks and items shuffled"),
)
