"""A server application by reference: it is told the path of each upload, and where to reply.

    RECEIPT_KEY=secret python3 examples/receipt_by_reference.py --uploads uploads --archive archive

It runs on the machine of the BITS server, as the same user or as a member of session_group.
"""

from __future__ import annotations

import argparse
import os
import secrets
import shutil
import stat
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


class Handler(BaseHTTPRequestHandler):
    """Answers notifications."""

    timeout = 60  # seconds in which a caller must send something
    archive: Archive
    uploads: Path
    limit: int
    key: str

    def do_POST(self) -> None:
        status = 200
        try:
            self.handle_notification()
        except Refused as refusal:
            self.log_error("refused with %d: %s", refusal.status, refusal)
            status = refusal.status
        except OSError as error:  # a full disk, for instance: the client comes again
            self.log_error("not now: %s", error)
            status = 503
        self.send_response(status)
        self.send_header("Content-Length", "0")
        # With this header the server would also put the file at the URL it was uploaded to:
        # self.send_header("BITS-Copy-File-To-Destination", "1")
        self.end_headers()

    def handle_notification(self) -> None:
        check_caller(self.headers.get("X-Key", ""), self.key)
        session_id = check_session_id(self.headers.get("BITS-Session-Id", ""))
        url = self.headers.get("BITS-Original-Request-URL", "")
        request = self.path_in_session("BITS-Request-DataFile-Name")
        response = self.path_in_session("BITS-Response-DataFile-Name")
        receipt = self.archive.file(session_id, url, lambda place: self.take(request, place))
        # The reply must not be seen half written: the server looks for it when we have answered.
        unfinished = response.with_name(f"response.{secrets.token_hex(4)}")
        unfinished.write_bytes(receipt)
        unfinished.chmod(0o640)  # the server reads it as the owner of the group
        os.replace(unfinished, response)

    def path_in_session(self, header: str) -> Path:
        """A path that the server names. It can only be of a session of ours."""
        # Header fields are bytes; the server sends UTF-8, http.server reads ISO 8859-1.
        sent = self.headers.get(header, "").encode("latin-1")
        path = Path(sent.decode("utf-8", "surrogateescape"))
        if path.parent.parent != self.uploads / "BITS-Sessions" or ".." in path.parts:
            # Only the server has the key, so --uploads is wrong rather than the client: not final.
            raise Refused(500, f"{header} is not in {self.uploads}/BITS-Sessions: {path}")
        return path

    def take(self, request: Path, place: Path) -> None:
        """Have the file without moving it: should we die now, the next call finds it again."""
        found = os.lstat(request)
        if not stat.S_ISREG(found.st_mode):
            raise Refused(403, f"{request} is no file")
        check_size(found.st_size, self.limit)
        try:
            os.link(request, place, follow_symlinks=False)
        except OSError:  # another file system, or another owner
            shutil.copyfile(request, place, follow_symlinks=False)


def main() -> None:
    parser = argparse.ArgumentParser(description="File uploads and answer with receipts.")
    parser.add_argument("--uploads", type=Path, required=True, help="path of the virtual directory")
    parser.add_argument("--archive", type=Path, required=True, help="where files are kept")
    parser.add_argument("--limit", type=int, default=10 << 30, help="bytes of one file")
    parser.add_argument("--port", type=int, default=9000)
    options = parser.parse_args()
    Handler.archive = Archive(options.archive)
    Handler.uploads = options.uploads.absolute()
    Handler.limit = options.limit
    Handler.key = key_from_environment()
    with ThreadingHTTPServer(("127.0.0.1", options.port), Handler) as server:
        print(f"waiting for notifications at http://127.0.0.1:{server.server_port}/", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
