"""``python -m smtpbench``: the same as the ``smtpbench`` command."""

from smtpbench.cli import main

main()
