"""Stored datasets as ``tf.data.Dataset``s."""

from deeptool.reader.api import kafka_dataset as kafka_dataset
from deeptool.reader.meter import ReadMeter as ReadMeter
