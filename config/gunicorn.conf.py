"""gunicorn -c config/gunicorn.conf.py bits_server.wsgi:application

The settings of ``bits-server serve`` for those who start gunicorn themselves; bind, workers and
threads are yours to set, here or on the command line.
"""

from bits_server.cli.embedded_server import GUNICORN_SETTINGS

globals().update(GUNICORN_SETTINGS)

bind = ["127.0.0.1:8080"]
workers = 2
threads = 16
