"""`python -m electrify` is the command `electrify`."""

from electrify.cli import main

main()
