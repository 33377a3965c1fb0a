"""One pass of a stored dataset as columns that give any row at once, on disk or in memory.

Rows come as `deeptool.codec.values.Leaves` from whoever fills the columns, and go out as the same.
Nothing here knows of Kafka, of orders or of frameworks.
"""
