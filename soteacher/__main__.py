"""`python -m soteacher`, and `python PATH/TO/soteacher`, as the rules of the workflow call it."""

import sys
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 -- `python` can be any Python of the PATH
    print(
        f"soteacher: error: this is Python {sys.version.split()[0]}; activate the environment "
        "with Python 3.11 or newer in which the packages are installed",
        file=sys.stderr,
    )
    sys.exit(2)
if not __package__:  # called by its path: let the package be found, not the modules in it
    # the folder of modules is in the path also with PYTHONSAFEPATH
    package = Path(__file__).resolve().parent
    others = [entry for entry in sys.path if Path(entry).resolve() != package]
    sys.path[:] = [str(package.parent), *others]

from soteacher.cli import main

if __name__ == "__main__":
    main()
