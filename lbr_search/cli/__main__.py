"""``python -m lbr_search.cli``: the command line without its installed script."""

from lbr_search.cli import main

main()
