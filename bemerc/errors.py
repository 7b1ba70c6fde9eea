"""What a user can cause, as sentences: the one exception type that the command line prints without a stack trace."""


class BemercError(Exception):
    """Something a user can mend. The message names the id, the values and the next step."""


class ConfigError(BemercError):
    """params.yaml does not say what the program needs; the message lists every fault at once."""


class MediaError(BemercError):
    """A clip cannot be read; the message is the reason that lands in the cache's failures."""


class CacheError(BemercError):
    """An HDF5 file is not a cache of the expected kind, version or shape."""


class CorpusError(BemercError):
    """A corpus or manifest is not as it must be: missing files, unknown labels, duplicate ids."""


class ModelError(BemercError):
    """A model folder does not fit: another backbone, other token columns, missing or pickled weights."""
