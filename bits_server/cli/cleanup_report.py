"""What ``bits-server cleanup`` says."""

from __future__ import annotations

from bits_server.sessions.cleanup_report import CleanupReport


def describe(path: str, report: CleanupReport | None, *, dry_run: bool) -> str:
    """The report on the folder ``path``, some lines."""
    if report is None:
        return f"{path}: another clean-up is at work here"
    verb = "would be removed" if dry_run else "removed"
    lines = [f"{path}: {report.found} sessions found"]
    for record in report.removed:
        state = "complete, but never closed" if record.is_complete else "incomplete"
        lines.append(f"  {verb}: {record.guid} {record.destination!r}, {state}")
    lines += [f"  {verb}: {session_id}, without a readable record" for session_id in report.wrecks]
    lines += [f"  {verb}: {name}, left by a crash" for name in report.debris]
    if report.closed_records:
        lines.append(
            f"  {verb}: {report.closed_records} records of sessions closed over an hour ago"
        )
    lines += [f"  not ours, left alone: {name!r}" for name in report.foreign]
    lines += [f"  could not be removed: {failure}" for failure in report.failures]
    return "\n".join(lines)
