"""``gunicorn bits_server.wsgi:application``, for those who start gunicorn themselves.

The settings are in the file that the environment variable BITS_SERVER_SETTINGS names. Use it
together with ``config/gunicorn.conf.py``, which lets large header fields pass.
"""

import logging

from bits_server.app import check_environment, create_app
from bits_server.operations.log_setup import log_as_set
from bits_server.operations.secret_files import complaints
from bits_server.operations.settings_file import file_named_by_environment, load_settings
from bits_server.settings import SettingsError

_log = logging.getLogger("bits_server")
_file = file_named_by_environment()
try:
    _settings = load_settings(_file)
    check_environment(_settings)
    log_as_set(_settings)
    for _complaint in complaints(_settings, _file):
        _log.warning(_complaint)
    application = create_app(_settings)
except SettingsError as error:
    error.file = _file
    raise
