"""What plans need to know of networks. Of those from outside, another process measures it once.

That process imports torch; this module does not. It keeps the facts in `results/.networks`, which
can be deleted at any time. Each file is named by the network, the content of its code or its
package's version, the size of the images and the number of classes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple, Self

from soteacher.core import files
from soteacher.core.errors import UserError
from soteacher.core.hashing import json_sha256
from soteacher.models.outside import OutsideNetwork, refused

STAGE = r"stage\d+"
"""Pattern of the names of the maps that distillers match."""
FOLDER = Path("results/.networks")
MEASURES = 2
"""Part of the files' names. Increase it if other facts are measured or other networks refused."""
COMMAND = "from soteacher.models.measured import main; main()"


class Facts(NamedTuple):
    """The sizes and the cost of a network for images of one size."""

    parameters: int
    flops: int
    """FLOP of one image's forward pass, 2 per multiply-add, as torch.utils.flop_counter counts."""
    values: tuple[int, ...]
    """Number of values of the output of each convolution, and of each linear layer of tokens, for
    one image."""
    norms: int
    """Number of batch norms, layer norms and group norms."""
    features: tuple[str, ...]
    """Names of the features."""
    maps: dict[str, tuple[int, int]]
    """Feature `stage1`, `stage2`, ... to the height and width of its map."""
    one_image: bool
    """Whether it can be trained on a batch of one image."""

    @classmethod
    def of(cls, found: dict[str, object]) -> Self:
        """Return the facts that JSON values say; raise `TypeError` or `ValueError` otherwise."""
        facts = cls(**found)  # type: ignore[arg-type]
        maps = {name: (height, width) for name, (height, width) in facts.maps.items()}
        values, features = tuple(facts.values), tuple(facts.features)
        return facts._replace(values=values, features=features, maps=maps)


@cache
def facts_of(network: OutsideNetwork, height: int, width: int, n_classes: int) -> Facts:
    """Return a network's facts, from their file or measured now.

    Raises `UserError` if the network cannot be built for such images.
    """
    asked = [MEASURES, network.name, network.identity, height, width, n_classes]
    path = FOLDER / f"{network.name.replace('/', '.')}-{json_sha256(asked)[:16]}.json"
    try:
        return Facts.of(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, AttributeError):
        facts = _measured(network, height, width, n_classes)
    with suppress(OSError, UserError):  # a folder that cannot be written: measured again next time
        files.write_json(path, facts._asdict())
    return facts


def _measured(network: OutsideNetwork, height: int, width: int, n_classes: int) -> Facts:
    request = {
        "name": network.name,
        "source": network.source,
        "code": None if network.code is None else network.code.decode("latin-1"),
        "code_sha256": network.code_sha256,
        "module": network.module,
        "sizes": [n_classes, height, width],
    }
    done = subprocess.run(
        [sys.executable, "-c", COMMAND],
        input=json.dumps(request),
        capture_output=True,
        text=True,
        encoding="utf-8",
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
    )
    *_, last = done.stdout.splitlines() or [""]
    try:
        answer = json.loads(last)
    except ValueError:
        *_, why = done.stderr.splitlines() or [f"the process ended with code {done.returncode}"]
        raise refused(network, n_classes, height, width, why) from None
    if "error" in answer:
        raise UserError(answer["error"])
    return Facts.of(answer)
