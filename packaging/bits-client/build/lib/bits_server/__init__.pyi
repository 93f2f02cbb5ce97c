"""A server for the BITS Upload Protocol [MC-BUP], in place of IIS.

The public API is what ``__all__`` names; all else may change from one version to the next.
"""

from bits_server.app import create_app, create_apps
from bits_server.settings import (
    Checksum,
    Durability,
    LogFormat,
    LogLevel,
    NotificationHeader,
    NotificationType,
    NotifyAt,
    Settings,
    SettingsError,
    VirtualDirectory,
)
from bits_server.version import VERSION

__version__ = VERSION

__all__ = [
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
    "__version__",
    "create_app",
    "create_apps",
]
