"""`python -m soteacher`."""

from soteacher.cli import main

if __name__ == "__main__":
    main()
