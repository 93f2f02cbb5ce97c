"""A server application by value: an upload comes as the body, the reply is the answer's body.

    RECEIPT_KEY=secret python3 examples/receipt_by_value.py --archive archive

It may run on any machine that the BITS server can reach; use https then.
"""

from __future__ import annotations

import argparse
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from filing import (
    Archive,
    Refused,
    check_caller,
    check_session_id,
    check_size,
    key_from_environment,
)

BLOCK = 1 << 20


class Handler(BaseHTTPRequestHandler):
    """Answers notifications."""

    timeout = 60  # seconds in which a caller must send something
    archive: Archive
    limit: int
    key: str

    def do_POST(self) -> None:
        try:
            receipt = self.handle_notification()
        except Refused as refusal:
            self.log_error("refused with %d: %s", refusal.status, refusal)
            self.answer(refusal.status, b"")
        except OSError as error:  # a full disk, for instance: the client comes again
            self.log_error("not now: %s", error)
            self.answer(503, b"")
        else:
            self.answer(200, receipt)

    def handle_notification(self) -> bytes:
        check_caller(self.headers.get("X-Key", ""), self.key)
        session_id = check_session_id(self.headers.get("BITS-Session-Id", ""))
        check_size(self.length, self.limit)
        url = self.headers.get("BITS-Original-Request-URL", "")
        return self.archive.file(session_id, url, self.receive)

    @property
    def length(self) -> int:
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch("[0-9]{1,18}", length):  # a chunked body, for instance: not from ours
            raise Refused(411, "without a Content-Length nobody knows whether the file is whole")
        return int(length)

    def receive(self, place: Path) -> None:
        """Block by block: memory does not depend on the size of the file."""
        missing = self.length
        with open(place, "xb") as file:
            while missing:
                block = self.rfile.read(min(BLOCK, missing))
                if not block:
                    raise Refused(400, f"the body ended {missing} bytes early")
                file.write(block)
                missing -= len(block)

    def answer(self, status: int, body: bytes) -> None:
        """HTTP/1.0 as http.server speaks it: the connection ends with the answer."""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        # With this header the server would also put the file at the URL it was uploaded to:
        # self.send_header("BITS-Copy-File-To-Destination", "1")
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    parser = argparse.ArgumentParser(description="File uploads and answer with receipts.")
    parser.add_argument("--archive", type=Path, required=True, help="where files are kept")
    parser.add_argument("--limit", type=int, default=10 << 30, help="bytes of one file")
    parser.add_argument("--bind", default="127.0.0.1", help="address to listen at")
    parser.add_argument("--port", type=int, default=9000)
    options = parser.parse_args()
    Handler.archive = Archive(options.archive)
    Handler.limit = options.limit
    Handler.key = key_from_environment()
    with ThreadingHTTPServer((options.bind, options.port), Handler) as server:
        where = f"http://{options.bind}:{server.server_port}/"
        print(f"waiting for notifications at {where}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
