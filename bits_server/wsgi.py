"""``gunicorn bits_server.wsgi:application``, for those who start gunicorn themselves.

The settings are in the file that the environment variable BITS_SERVER_SETTINGS names. Use it
together with ``config/gunicorn.conf.py``, which lets large header fields pass.
"""

from bits_server.app import create_app
from bits_server.operations.log_setup import set_up_logging
from bits_server.operations.settings_file import file_named_by_environment, load_settings
from bits_server.settings import SettingsError

set_up_logging()
_file = file_named_by_environment()
try:
    application = create_app(load_settings(_file))
except SettingsError as error:
    error.file = _file
    raise
