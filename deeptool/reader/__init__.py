"""Stored datasets, read: in which order, as which rows, and as what a framework takes."""

from deeptool.reader.stored_dataset import StoredDataset, kafka_dataset
from deeptool.reader.stored_dataset import open_dataset as open
from deeptool.store.read_meter import ReadMeter

__all__ = ["ReadMeter", "StoredDataset", "kafka_dataset", "open"]
