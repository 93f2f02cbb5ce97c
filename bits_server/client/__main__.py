"""``python -m bits_server.client``: the command ``bits-client``."""

from bits_server.client.command import main

if __name__ == "__main__":
    main(prog_name="bits-client")
