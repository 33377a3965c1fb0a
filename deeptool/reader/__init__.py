"""Stored datasets, read: in which order, as which rows, and as what a framework takes."""

from deeptool.reader.open_dataset import kafka_dataset
from deeptool.reader.open_dataset import open_dataset as open
from deeptool.reader.stored_dataset import StoredDataset
from deeptool.store.read_meter import ReadMeter

__all__ = ["ReadMeter", "StoredDataset", "kafka_dataset", "open"]
