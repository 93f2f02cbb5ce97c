"""The page for people who upload with a browser: what is fetched by GET at a virtual directory.

The rule of this file: the page lies where no upload can be. Its files are in ``BITS-Sessions``,
which is refused as a part of every destination. The page itself is the virtual directory's own URL,
which is no destination either. What the page does, it does by packets, as every client.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from werkzeug.wrappers import Response

from bits_server.settings import VirtualDirectory
from bits_server.web.pages.page_files import PageFiles, json_answer, protected

FILES_PREFIX = b"BITS-Sessions/.page/"
FACTS = b"facts.json"


def is_of_page(directory: VirtualDirectory, path: bytes) -> bool:
    """Whether GET of ``path``, below the virtual directory, is for its page."""
    is_on = directory.upload_page and directory.upload_enabled
    return is_on and (not path or path.startswith(FILES_PREFIX))


class UploadPage:
    """The page of any virtual directory."""

    def __init__(self, files: PageFiles | None = None) -> None:
        self._files = files or PageFiles()

    def answer(
        self, directory: VirtualDirectory, path: bytes, user: str, environ: dict[str, Any]
    ) -> Response:
        """For GET and HEAD of what ``is_of_page``, by ``user``, who may upload here."""
        if path == FILES_PREFIX + FACTS:
            return json_answer(_facts(directory, user))
        if path:
            return self._files.answer(path[len(FILES_PREFIX) :].decode(errors="replace"), environ)
        last = (environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")).rpartition("/")[2]
        if last:
            return protected(_to_folder(last))
        return self._files.answer("upload.html", environ)


def _to_folder(last_segment: str) -> Response:
    """Relative, for a proxy may give the page another host and another path."""
    location = f"./{quote(last_segment.encode('latin-1'), safe='')}/"
    return Response(status=307, headers={"Location": location, "Cache-Control": "no-store"})


def _facts(directory: VirtualDirectory, user: str) -> dict[str, Any]:
    """What the page says before it sends anything, and how much it sends at a time (bytes)."""
    return {
        "user": user,
        "maximumUploadSize": directory.maximum_upload_size,
        "maximumFragmentSize": directory.maximum_fragment_size,
    }
