"""How gunicorn runs app.py: a process for each core, a thread for each client, and some for pages."""

bind = "127.0.0.1:8000"  # nginx is in front
workers = 2
worker_class = "gthread"
threads = 100
raw_env = ["MAX_CONNECTIONS=90"]  # of the threads: ten are left for pages and health checks
graceful_timeout = 20


def post_worker_init(worker):
    """Make the worker a node at once, and not only when somebody comes: so /readyz tells how it is."""
    from app import server

    server.start()
