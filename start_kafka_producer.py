#!/usr/bin/env python3
"""Upload what a settings file's pipeline yields: ``deeptool produce`` by its first name."""

from deeptool.commands.produce import command
from deeptool.errors import run_command

if __name__ == "__main__":
    run_command(command)
