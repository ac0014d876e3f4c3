"""The live page: a WSGI callable to mount in any web app, and the server of ``mm web``."""
