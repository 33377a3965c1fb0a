"""Sealed datasets: all that is stored of a dataset as a folder of files, read without a broker.

The rows are in files of `deeptool.columns`, as in a local copy. Beside them is what the catalog
says of the uploads, so that whatever is asked of a stored dataset has the same answer here.
"""
