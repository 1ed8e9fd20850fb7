"""``fvdeblur`` on the command line, and ``python -m fvdeblur``."""

import gc

from fvdeblur.cli import main


def program() -> None:
    """Run the command line as a process of its own."""
    try:
        main()
    finally:
        gc.freeze()  # the process ends: searching PyTorch's objects for garbage would only take time


if __name__ == "__main__":
    program()
