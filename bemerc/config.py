"""The strict loader: one section of params.yaml becomes one frozen dataclass.

A params file is read by people in a hurry, so every fault is reported at once: unknown keys with the known ones beside
them, missing keys, wrong types, and values that a dataclass's own ``check`` refuses. Nothing is coerced except int to
float: PyYAML reads ``1e-4`` as a string, and a silent float("1e-4") would hide the next such surprise.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from bemerc.errors import ConfigError

T = TypeVar("T")


def load(path: str | Path, section: str, cls: type[T]) -> T:
    """Read ``section`` of the YAML file at ``path`` into ``cls``, a frozen dataclass.

    Raises ConfigError, listing every fault, when the file, the section or any key is not as ``cls`` declares.
    """
    return from_mapping(read_section(path, section), cls, where=f"{path}: {section}")


def read_section(path: str | Path, section: str) -> Mapping[str, Any]:
    """The raw mapping of one section; ConfigError if the file or the section is not there."""
    document = read_document(path)
    if section not in document:
        raise ConfigError(f"{path}: there is no section '{section}'; the sections are {', '.join(map(str, document))}.")
    value = document[section]
    if not isinstance(value, Mapping):
        raise ConfigError(f"{path}: section '{section}' must hold keys and values, not {_kind(value)}.")
    return value


def read_document(path: str | Path) -> Mapping[str, Any]:
    """The whole params file as a mapping of sections."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no such params file. Run from the project's folder, or name one with --params."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: the params file cannot be read as UTF-8 text ({error}).") from error
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: this is not valid YAML: {error}") from error
    if not isinstance(document, Mapping):
        raise ConfigError(f"{path}: the params file must hold sections, not {_kind(document)}.")
    return document


def from_mapping(mapping: Mapping[str, Any], cls: type[T], where: str) -> T:
    """Build ``cls`` from a mapping; ``where`` opens every line of the error."""
    faults: list[str] = []
    value = _build(mapping, cls, where, faults)
    if faults:
        raise ConfigError("\n".join(faults))
    return typing.cast(T, value)


def to_mapping(value: Any) -> Any:
    """The inverse of from_mapping: plain dicts, lists and scalars, ready for JSON or YAML."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_mapping(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: to_mapping(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_mapping(item) for item in value]
    return value


def _build(mapping: Mapping[str, Any], cls: type, where: str, faults: list[str]) -> Any:
    hints = get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for key in mapping:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else "."
            faults.append(f"{where}.{key}: unknown key{hint} The known keys are {', '.join(fields)}.")
    values: dict[str, Any] = {}
    before = len(faults)
    for name, field in fields.items():
        if name in mapping:
            values[name] = _convert(mapping[name], hints[name], f"{where}.{name}", faults)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            faults.append(f"{where}.{name}: this key is missing; it must be {_name(hints[name])}.")
    if len(faults) > before:
        return None
    built = cls(**values)
    check = getattr(built, "check", None)
    if check is not None:
        faults.extend(f"{where}.{fault}" for fault in check())
    return built


def _convert(value: Any, hint: Any, where: str, faults: list[str]) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(value, args, hint, where, faults)
    if origin is Literal:
        if value in args and type(value) in {type(arg) for arg in args}:
            return value
        faults.append(f"{where}: {value!r} is not one of {', '.join(map(repr, args))}.")
        return None
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if isinstance(value, Mapping):
            return _build(value, hint, where, faults)
        faults.append(f"{where}: must hold keys and values, not {_kind(value)}.")
        return None
    if origin is tuple:
        return _convert_sequence(value, args[0], hint, where, faults)
    if origin in (dict, Mapping) or (origin is not None and issubclass(origin, Mapping)):
        return _convert_mapping(value, args, hint, where, faults)
    return _convert_scalar(value, hint, where, faults)


def _convert_union(value: Any, args: tuple[Any, ...], hint: Any, where: str, faults: list[str]) -> Any:
    if value is None and type(None) in args:
        return None
    attempts: list[list[str]] = []
    for arg in args:
        if arg is type(None):
            continue
        attempt: list[str] = []
        converted = _convert(value, arg, where, attempt)
        if not attempt:
            return converted
        attempts.append(attempt)
    faults.extend(attempts[0] if len(attempts) == 1 else [f"{where}: {value!r} is not {_name(hint)}."])
    return None


def _convert_sequence(value: Any, item: Any, hint: Any, where: str, faults: list[str]) -> Any:
    if not isinstance(value, list | tuple):
        faults.append(f"{where}: must be a list, not {_kind(value)}.")
        return None
    return tuple(_convert(v, item, f"{where}[{i}]", faults) for i, v in enumerate(value))


def _convert_mapping(value: Any, args: tuple[Any, ...], hint: Any, where: str, faults: list[str]) -> Any:
    if not isinstance(value, Mapping):
        faults.append(f"{where}: must hold keys and values, not {_kind(value)}.")
        return None
    item = args[1] if args else Any
    return {str(key): _convert(v, item, f"{where}.{key}", faults) for key, v in value.items()}


def _convert_scalar(value: Any, hint: Any, where: str, faults: list[str]) -> Any:
    if hint is float and type(value) is int:
        return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if type(value) is hint:
        return value
    extra = ""
    if hint is float and isinstance(value, str):
        extra = " YAML reads 1e-4 as text: write 1.0e-4."
    faults.append(f"{where}: must be {_name(hint)}, not {_kind(value)} {value!r}.{extra}")
    return None


def _name(hint: Any) -> str:
    names = {
        int: "a whole number",
        float: "a number",
        str: "text",
        bool: "true or false",
        type(None): "null",
        Path: "a path",
    }
    if hint in names:
        return names[hint]
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_name(arg) for arg in get_args(hint))
    if get_origin(hint) is tuple:
        return f"a list of {_name(get_args(hint)[0])}"
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(repr, get_args(hint)))
    return getattr(hint, "__name__", str(hint))


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    return {
        str: "text",
        int: "a whole number",
        float: "a number",
        bool: "true/false",
        list: "a list",
        dict: "a mapping",
    }.get(type(value), type(value).__name__)
