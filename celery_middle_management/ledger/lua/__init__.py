"""The scripts that run in Redis."""

from importlib.resources import files


def script(*names: str) -> str:
    """The text of these scripts, one after another."""
    directory = files(__package__)
    return "".join((directory / f"{name}.lua").read_text(encoding="utf-8") for name in names)
