"""bemerc: emotion recognition in conversation from cached behavior tokens.

    >>> import bemerc
    >>> sorted(name for name in dir(bemerc) if not name.startswith("_"))
    ['BemercError', 'compare', 'describe', 'extract', 'load_model', 'open_cache', 'predict']

What these need is imported when they are first asked for: ``extract`` needs no torch, ``predict`` on caches no video library.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bemerc.api import compare, describe, extract, load_model, open_cache, predict
    from bemerc.core.errors import BemercError

__version__ = "0.1.0"
__all__ = ["BemercError", "compare", "describe", "extract", "load_model", "open_cache", "predict"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'bemerc' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module("bemerc.core.errors" if name == "BemercError" else "bemerc.api"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
