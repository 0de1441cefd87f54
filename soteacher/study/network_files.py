"""Load networks from the user's files, which a study lists under `networks`.

A file defines one network, which has the name of the file. Its code is not run here. The file's
content is part of a run's spec, but its location is not. A change in another file that it imports
has no effect on the spec.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from soteacher.core.errors import UserError
from soteacher.models import catalogue, outside
from soteacher.models.outside import OutsideNetwork
from soteacher.study.method_files import read_code


def load_networks(paths: Iterable[str | Path], where: str = "--networks") -> list[OutsideNetwork]:
    """Make the networks of files known; raise `UserError` if a file cannot be used.

    where : the key or option that lists the files, for messages.
    """
    networks: dict[str, OutsideNetwork] = {}
    for path in map(Path, paths):
        network = _load(path, where)
        if network.name in networks:
            raise UserError(
                f"{where}: {networks[network.name].source} and {path} are both named "
                f"'{network.name}'; rename one of them"
            )
        networks[network.name] = network
        outside.add_file(network)
    return [*networks.values()]


def _load(path: Path, where: str) -> OutsideNetwork:
    name, code = read_code(path, where, "network")
    if catalogue.is_shipped(name):
        raise UserError(
            f"{where}: {path}: soteacher already has a network with this name; rename the file"
        )
    if name in outside.installed():
        raise UserError(
            f"{where}: {path}: an installed package has a network with this name; rename the file"
        )
    try:
        outside.check_code(code)
    except UserError as error:
        raise UserError(f"{where}: {path}{error}") from None
    return OutsideNetwork(name, str(path), code, hashlib.sha256(code).hexdigest())
