"""`python -m quintet`: the command line."""

from quintet.cluster.__main__ import main

main()
