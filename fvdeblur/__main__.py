"""``python -m fvdeblur``."""

from fvdeblur.cli import main

if __name__ == "__main__":
    main()
