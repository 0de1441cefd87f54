"""`soteacher import-teacher FILE`."""

from __future__ import annotations

import argparse
from pathlib import Path

from soteacher.cli.arguments import add_study

HELP = "Import the state dict of a network that was trained elsewhere, and measure its accuracy."
DESCRIPTION = (
    f"{HELP} Tensors are matched by their names or, if names differ, by their order and shapes. "
    "The result is a folder as `soteacher export` writes it, for soteacher.load."
)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    command.add_argument("file", type=Path, help="state dict: .pth, .pt, .bin or .safetensors")
    command.add_argument("--network", required=True, help="name of the network, such as wrn_40_2")
    command.add_argument("--data", required=True, help="name of a data set of the study")
    command.add_argument("--out", type=Path, required=True, help="new folder to write")
    add_study(command)


def run(options: argparse.Namespace) -> None:
    """Prepare the data set if necessary, write the folder, and print the accuracy."""
    from soteacher.core.errors import UserError, unknown
    from soteacher.data.prepared import folder_of, prepare, stored_data
    from soteacher.exchange.imported import import_teacher
    from soteacher.models.catalogue import check_known
    from soteacher.study.load import load

    study = load(*options.study)  # its network files, too
    check_known(options.network)  # before data are prepared
    if options.data not in study.data:
        raise UserError(unknown("data set", options.data, study.data))
    spec, store = study.data[options.data].data_spec, Path(study.store)
    manifest = prepare(spec, store, study.data[options.data].location)
    data = stored_data(folder_of(spec, store, manifest.get("content")))
    assert data is not None
    card = import_teacher(options.file, options.network, data, options.out)
    imported = card["imported"]
    how = "by order and shape" if imported["by_order"] else "by name, with another prefix"
    renamed = len(imported["renamed"])
    matched = f"{renamed} tensors matched {how}" if renamed else "all names equal"
    print(
        f"{options.out}: {card['network']} of {options.file}, {matched}; test accuracy "
        f"{card['test_top1']:.2%} of {data.outline.n_test} images of {options.data}"
    )
