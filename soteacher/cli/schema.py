"""`soteacher schema`: the JSON schema of study files, for editors."""

from __future__ import annotations

import argparse
import json

HELP = "Print the JSON schema of study files."


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add no argument: the command has none."""


def run(options: argparse.Namespace) -> None:
    """Print the schema."""
    from soteacher.study.json_schema import json_schema

    print(json.dumps(json_schema(), indent=1))
