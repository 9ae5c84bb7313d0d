"""``python -m mmpref`` is the ``mmpref`` command."""

from mmpref.cli.main import main

if __name__ == "__main__":
    main()
