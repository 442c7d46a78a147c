"""How gunicorn runs app.py: three processes on one port, with a thread for each client, and some for pages."""

bind = "127.0.0.1:8000"
workers = 3
preload_app = True
worker_class = "gthread"
threads = 100
