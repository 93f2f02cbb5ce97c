"""A server for the BITS Upload Protocol [MC-BUP], in place of IIS, and a client for it.

The public API is what ``__all__`` names; all else may change from one version to the next. What
belongs to the server is imported when it is asked for: ``bits_server.client`` is installed without
what the server needs. ``__init__.pyi`` has the types.
"""

from bits_server.version import VERSION

__version__ = VERSION

_OF_APP = ("create_app", "create_apps")
_OF_SETTINGS = (
    "Checksum",
    "Durability",
    "LogFormat",
    "LogLevel",
    "NotificationHeader",
    "NotificationType",
    "NotifyAt",
    "Settings",
    "SettingsError",
    "VirtualDirectory",
)
__all__ = [*_OF_SETTINGS, "__version__", *_OF_APP]


def __getattr__(name: str) -> object:
    if name in _OF_APP:
        import bits_server.app

        return getattr(bits_server.app, name)
    if name in _OF_SETTINGS:
        import bits_server.settings

        return getattr(bits_server.settings, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
