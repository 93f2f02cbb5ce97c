"""``python -m bits_server`` is ``bits-server``."""

from bits_server.cli import main

main(prog_name="bits-server")
