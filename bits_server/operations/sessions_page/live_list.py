"""The sessions as they change: what the page asks for every two seconds.

The rule of this file: who asks again is told what has changed since, whichever worker he asks, and
a session is read from the disk only when its files were written to. All who ask one worker within a
second share one look.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from bits_server.operations.session_list import facts_of
from bits_server.protocol.session_id import SessionId
from bits_server.sessions.administration import Administration, SessionFacts

LOOK_SECONDS = 1.0
# Another worker may have looked a little earlier than this one; what is told twice is no harm.
SLACK_SECONDS = 3.0
REMEMBERED_SECONDS = 60.0  # what ended; who asks after longer is told everything

Place = tuple[str, SessionId]  # the URL of a virtual directory, and a session in it


@dataclass
class _Seen:
    """A session as it was looked at. ``changed``: when that was noticed, seconds since 1970."""

    last_progress: float
    changed: float
    facts: dict[str, Any]


class LiveList:
    """Of all virtual directories. May be shared between threads."""

    def __init__(
        self,
        administrations: Sequence[Administration],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._administrations = tuple(administrations)
        self._clock = clock
        self._lock = threading.Lock()
        self._looked_at = float("-inf")
        self._seen: dict[Place, _Seen] = {}
        self._removed: dict[Place, float] = {}

    def changes(self, since: float | None) -> dict[str, Any]:
        """What has changed ``since`` (seconds since 1970, the ``now`` of an earlier answer).

        ``whole``: the sessions are all there are, and not changes. ``sessions``: as ``facts_of``,
        without what changes by itself; ``removed``: pairs of virtual directory and session id.
        ``count``: how many there are, so that whoever has another number can ask for all.
        """
        with self._lock:
            self._look()
            now = self._looked_at
            is_whole = since is None or not 0 <= now - since <= REMEMBERED_SECONDS
            first = float("-inf") if is_whole or since is None else since - SLACK_SECONDS
            return {
                "now": now,
                "whole": is_whole,
                "count": len(self._seen),
                "sessions": [each.facts for each in self._seen.values() if each.changed >= first],
                "removed": [
                    [url, str(session_id)]
                    for (url, session_id), when in self._removed.items()
                    if not is_whole and when >= first
                ],
            }

    def _look(self) -> None:
        now = self._clock()
        if 0 <= now - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = now
        here: set[Place] = set()
        for administration in self._administrations:
            here |= self._look_into(administration, now)
        for place in self._seen.keys() - here:
            del self._seen[place]
            self._removed[place] = now
        too_old = now - REMEMBERED_SECONDS - SLACK_SECONDS
        for place in [place for place, when in self._removed.items() if when < too_old]:
            del self._removed[place]

    def _look_into(self, administration: Administration, now: float) -> set[Place]:
        url, here = administration.directory.url, set()
        # What was written a moment ago may be written again with the same time.
        known = {
            session_id: seen.last_progress
            for (of, session_id), seen in self._seen.items()
            if of == url and now - seen.last_progress > SLACK_SECONDS
        }
        for session_id, facts in administration.look_at_changed(known):
            here.add((url, session_id))
            if facts is not None:
                self._note((url, session_id), facts, now)
        return here

    def _note(self, place: Place, facts: SessionFacts, now: float) -> None:
        told = facts_of(facts, now)
        del told["age_seconds"], told["idle_seconds"]
        seen = self._seen.get(place)
        changed = now if seen is None or seen.facts != told else seen.changed
        # Another worker may have told of it already, when it was written.
        changed = max(changed, min(now, facts.last_progress))
        self._removed.pop(place, None)
        self._seen[place] = _Seen(facts.last_progress, changed, told)
