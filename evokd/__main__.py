"""`python -m evokd`."""

from evokd.cli import main

main()
