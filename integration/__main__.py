"""`python -P -m integration`: the same as `hisbundle`."""

from integration.cli import main

main()
