#!/usr/bin/env python3
"""Build the images of this folder: what ``make build-sif`` runs."""

from deeptool.errors import run_command
from hpc.commands.images import command

if __name__ == "__main__":
    run_command(command)
