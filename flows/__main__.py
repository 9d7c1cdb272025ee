"""``python -m flows`` is ``tirgen``."""

from flows.cli import main

main()
