"""`python -m soteacher`, and `python PATH/TO/soteacher`, as the rules of the workflow call it."""

import sys
from pathlib import Path

if not __package__:  # called by its path: let the package be found, not the modules in it
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from soteacher.cli import main

if __name__ == "__main__":
    main()
