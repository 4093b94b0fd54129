"""``python -m jitgrad``: the command line."""

from __future__ import annotations

if __name__ == "__main__":
    from jitgrad.cli import main

    main()
