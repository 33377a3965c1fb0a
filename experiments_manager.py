#!/usr/bin/env python3
"""Run one trial of an experiment: ``deeptool train`` by its first name."""

from deeptool.commands.train import command
from deeptool.errors import run_command

if __name__ == "__main__":
    run_command(command)
