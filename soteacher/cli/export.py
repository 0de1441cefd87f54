"""`soteacher export RUN DIR`."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "Write a run's network to a folder, for use elsewhere."
DESCRIPTION = (
    f"{HELP} The folder has model.safetensors, pytorch_model.bin (the same state dict), "
    "config.json and a model card, README.md, as on Hugging Face. Nothing is sent anywhere."
)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    command.add_argument(
        "run_folder",
        metavar="RUN",
        type=Path,
        help="folder of a run, for example results/demo/teachers/digits/wrn_10_2/standard/seed10",
    )
    command.add_argument("folder", metavar="DIR", type=Path, help="new folder to write")
    command.add_argument(
        "--networks", type=Path, nargs="*", default=[], help="network files, if the run uses one"
    )


def run(options: argparse.Namespace) -> None:
    """Write the folder, and print what it has."""
    from soteacher.exchange.export import export

    card = export(options.run_folder, options.folder, options.networks)
    print(
        f"{options.folder}: {card['network']}, {card['n_classes']} classes, test accuracy "
        f"{card['test_top1']:.2%}"
    )
