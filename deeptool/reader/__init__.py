"""Stored datasets as ``tf.data.Dataset``s."""

from deeptool.reader.api import kafka_dataset as kafka_dataset
from deeptool.store.read_meter import ReadMeter as ReadMeter
