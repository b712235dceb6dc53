"""`python -m agenthub` is `agenthub`."""

from agenthub.cli import main

if __name__ == "__main__":
    main()
