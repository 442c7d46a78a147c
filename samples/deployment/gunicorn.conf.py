"""How gunicorn runs app.py: a thread for each client, and some for pages."""

bind = "127.0.0.1:8000"  # nginx is in front
workers = 2
worker_class = "gthread"
threads = 100
raw_env = ["MAX_CONNECTIONS=90"]  # which leaves ten threads for pages
graceful_timeout = 20


def post_worker_init(worker):
    """Connect to Redis at once, not with the first client: /readyz tells about it."""
    from app import server

    server.start()
