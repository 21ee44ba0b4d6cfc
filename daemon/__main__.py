"""``python -m desilt.daemon`` is ``desilt``."""

from .cli import main

if __name__ == "__main__":
    main()
