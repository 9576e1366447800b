"""`python -m cnnir.cli` is `cnnir`."""

from cnnir.cli.app import main

main()
