"""`python -m jepakit` is `jepa`."""

from jepakit.cli import main

main()
