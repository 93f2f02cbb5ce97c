"""``renameat2(RENAME_NOREPLACE)``, which Python does not offer.

Only for file systems without hard links (exFAT, some network shares): there it is the one way to
give a file its name that fails where the name is taken.
"""

from __future__ import annotations

import ctypes
import os

_RENAME_NOREPLACE = 1


def rename_exclusive(name: str, new_name: str, folder: int) -> None:
    """Rename within the open folder. Raises FileExistsError, or OSError where it is not offered."""
    libc = ctypes.CDLL(None, use_errno=True)
    source, target = os.fsencode(name), os.fsencode(new_name)
    if libc.renameat2(folder, source, folder, target, _RENAME_NOREPLACE) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), new_name)
