"""Which version this is. That is written in ``setup.cfg``, and by the build into the metadata that is installed."""

from pathlib import Path

__all__ = ["find_version"]


def find_version() -> str:
    """Return the version; takes a while, as neither module is imported before somebody asks."""
    import configparser
    from importlib import metadata

    config = configparser.ConfigParser()
    config.read(Path(__file__).parents[1] / "setup.cfg", encoding="utf-8")
    if config.get("metadata", "name", fallback="") == "ezez-ws":  # a checkout; what is installed may be another
        return config["metadata"]["version"]
    try:
        return metadata.version("ezez-ws")
    except metadata.PackageNotFoundError:  # copied, or frozen into a program
        return "0+unknown"
