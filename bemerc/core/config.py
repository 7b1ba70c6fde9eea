"""Strict loader of params.yaml: one section becomes one frozen dataclass.

All faults are reported at once: unknown keys (with the valid ones), missing keys, wrong types, and values that the
dataclass's own ``check`` refuses. Nothing is coerced except int to float: PyYAML reads ``1e-4`` as a string, and a
silent float("1e-4") would hide the next such surprise.

A params file may come with somebody else's model: its size, depth and the expansion of its aliases are bounded, a
duplicate key is an error, and messages show only the beginning of a value.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from bemerc.core import regular_file, renames
from bemerc.core.errors import ConfigError
from bemerc.core.terminal import printable
from bemerc.core.yaml_loader import BoundedLoader

T = TypeVar("T")


# The sections of params.yaml. Others are left to the user, unless one looks like a misspelling of these.
SECTIONS = (
    "sample", "prepare", "extract_video", "extract_audio", "tokens", "describe", "teacher", "backbone", "model", "prompt",
    "align", "crossfit", "variants", "merc", "predict", "evaluate",
    "conflict",
)  # fmt: skip
# Former names of sections -> present ones; keys have theirs beside their fields (renames.formerly).
FORMER_SECTIONS = {"student": "crossfit"}
# A params file of this project has 7 kB.
MAX_BYTES = 1 << 18


class Document(dict[str, Any]):
    """The sections of a params file, with the settings of a command line in place of its own. ``str()`` is the file's
    name."""

    def __init__(self, sections: Mapping[str, Any], path: str | Path) -> None:
        super().__init__(sections)
        self.path = path
        self.unread: set[str] = set()  # sections with settings of the command line that nobody has loaded yet
        self.settings: tuple[str, ...] = ()  # of the command line, as they were given

    def __str__(self) -> str:
        return str(self.path)

    def set(self, settings: Sequence[str]) -> None:
        """Put ``settings`` ("section.key=value", values as YAML) in place of its own; ConfigError as open_document."""
        self.settings += tuple(settings)
        for setting in settings:
            _apply(self, setting)


# Where settings come from: a params file, or one that was read before.
Source = str | Path | Document


def open_document(path: str | Path | None, settings: Sequence[str] = ()) -> Document:
    """A params file with ``settings`` ("section.key=value", values as YAML) in place of its own.

    None stands for params.yaml in the working directory, and for the defaults where there is none. Raises ConfigError
    where the file cannot be read, a setting is not of that form or names no section.
    """
    if path is None and not Path("params.yaml").is_file():
        document = Document({}, "the settings" if settings else "the defaults")
    else:
        document = Document(read_document("params.yaml" if path is None else path), path or "params.yaml")
    document.set(settings)
    return document


def _apply(document: Document, setting: str) -> None:
    name, equals, text = setting.partition("=")
    section, *keys = name.strip().split(".")
    shown = printable(setting, 100)
    if not equals or not keys or not all((section, *keys)):
        raise ConfigError(f"--set {shown}: write section.key=value, such as tokens.k=4.")
    section = FORMER_SECTIONS.get(section, section)
    if section not in SECTIONS:
        near = difflib.get_close_matches(section, SECTIONS, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else "."
        raise ConfigError(f"--set {shown}: there is no section '{printable(section, 60)}'{hint}")
    try:
        value = yaml.load(text, BoundedLoader)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ConfigError(f"--set {shown}: the value is not valid YAML.") from None
    document.unread.add(section)
    inner: dict[str, Any] = document
    for key in (section, *keys[:-1]):
        held = inner.get(key)
        inner[key] = dict(held) if isinstance(held, Mapping) else {}
        inner = inner[key]
    inner[keys[-1]] = value


def load(path: Source, section: str, cls: type[T]) -> T:
    """Read ``section`` of the YAML file at ``path`` into ``cls``, a frozen dataclass.

    A missing section means the defaults. Raises ConfigError, which lists every fault, when the file, the name of the
    section or any key is not as ``cls`` declares.
    """
    document = read_document(path)
    where = f"{printable(path)}: {section}"
    if section not in document and _has_defaults(cls):
        near = difflib.get_close_matches(section, [_shown(name) for name in document], n=1, cutoff=0.8)
        if near and near[0] not in SECTIONS:
            raise ConfigError(
                f"there is no section '{near[0]}'; did you mean '{section}'?", path=str(path), missing=True
            )
        return from_mapping({}, cls, where)
    return from_mapping(_section(document, path, section), cls, where)


def read_section(path: Source, section: str) -> Mapping[str, Any]:
    """The raw mapping of one section; ConfigError if the file or the section is not there."""
    return _section(read_document(path), path, section)


def _section(document: Mapping[str, Any], path: Source, section: str) -> Mapping[str, Any]:
    if section not in document:
        listed = printable(", ".join(map(_shown, document)))
        raise ConfigError(f"there is no section '{section}'; the sections are {listed}.", path=str(path), missing=True)
    if isinstance(path, Document):
        path.unread.discard(section)
    value = document[section] if document[section] is not None else {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"section '{section}' must hold keys and values, not {_kind(value)}.", path=str(path))
    return value


def _has_defaults(cls: type) -> bool:
    return all(
        field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
        for field in dataclasses.fields(cls)
    )


def read_document(path: Source) -> Mapping[str, Any]:
    """The whole params file as a mapping of sections; one that was read before as it is."""
    if isinstance(path, Document):
        return path
    try:
        text = regular_file.read_bytes(Path(path), MAX_BYTES).decode("utf-8")
    except FileNotFoundError:
        raise ConfigError(
            "there is no such params file. Run from the project's folder, or name one with --params.",
            path=path,
            missing=True,
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"the params file cannot be read as UTF-8 text ({error.reason}).", path=path) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"the params file cannot be read as UTF-8 text ({reason}).", path=path) from None
    try:
        document = yaml.load(text, BoundedLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else None
        reason = " ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(f"this is not valid YAML: {printable(reason)}.", path=path, line=line) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: no such date, a number of 5,000 digits
        raise ConfigError(f"this is not valid YAML: {printable(error)}", path=path) from None
    if not isinstance(document, Mapping):
        raise ConfigError(f"the params file must hold sections, not {_kind(document)}.", path=path)
    return _with_present_sections(document, path)


def _with_present_sections(document: Mapping[str, Any], path: str | Path) -> Mapping[str, Any]:
    """The document with its sections under their present names. ConfigError where one stands there under both."""
    for old in FORMER_SECTIONS.keys() & document.keys():
        new = FORMER_SECTIONS[old]
        if new in document:
            raise ConfigError(f"section '{old}' is called '{new}' now, and both are there. Remove '{old}'.", path=path)
        renames.warn(f"{printable(path)}: section {old}", new)
    return {
        FORMER_SECTIONS.get(name, name) if isinstance(name, str) else name: value for name, value in document.items()
    }


def from_mapping(mapping: Mapping[str, Any], cls: type[T], where: str) -> T:
    """Build the dataclass ``cls`` from a mapping; ``where`` opens every line of the ConfigError."""
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
    mapping = _renamed(mapping, cls, where, faults)
    for key in mapping:
        if key not in fields:
            near = difflib.get_close_matches(_shown(key), fields, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else "."
            faults.append(f"{where}.{_shown(key)}: unknown key{hint} The valid keys are {', '.join(fields)}.")
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


def _renamed(mapping: Mapping[str, Any], cls: type, where: str, faults: list[str]) -> Mapping[str, Any]:
    """The mapping with keys and values under their present names; both names of one key at once are a fault."""
    fields = dataclasses.fields(cls)
    old_keys, values = renames.former_names(fields), dict(mapping)
    for old, new in old_keys.items():
        if old in values and new in values:
            faults.append(f"{where}.{old}: this key is called {new} now, and both are there. Remove {old}.")
            del values[old]
        elif old in values:
            renames.warn(f"{where}.{old}", new)
            values[new] = values.pop(old)
    for field in fields:
        value, former = values.get(field.name), field.metadata.get("former_values", {})
        if isinstance(value, str) and value in former:
            renames.warn(f"{where}.{field.name}: {value}", former[value])
            values[field.name] = former[value]
    return values


def _convert(value: Any, hint: Any, where: str, faults: list[str]) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(value, args, hint, where, faults)
    if origin is Literal:
        if value in args and type(value) in {type(arg) for arg in args}:
            return value
        faults.append(f"{where}: {_shown(value, repr)} is not one of {', '.join(map(repr, args))}.")
        return None
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if isinstance(value, Mapping):
            return _build(value, hint, where, faults)
        faults.append(f"{where}: must hold keys and values, not {_kind(value)}.")
        return None
    if origin is tuple:
        return _convert_sequence(value, args[0], where, faults)
    if origin in (dict, Mapping) or (origin is not None and issubclass(origin, Mapping)):
        return _convert_mapping(value, args, where, faults)
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
    faults.extend(attempts[0] if len(attempts) == 1 else [f"{where}: {_shown(value, repr)} is not {_name(hint)}."])
    return None


def _convert_sequence(value: Any, item: Any, where: str, faults: list[str]) -> Any:
    if not isinstance(value, list | tuple):
        faults.append(f"{where}: must be a list, not {_kind(value)}.")
        return None
    return tuple(_convert(v, item, f"{where}[{i}]", faults) for i, v in enumerate(value))


def _convert_mapping(value: Any, args: tuple[Any, ...], where: str, faults: list[str]) -> Any:
    if not isinstance(value, Mapping):
        faults.append(f"{where}: must hold keys and values, not {_kind(value)}.")
        return None
    item = args[1] if args else Any
    return {str(key): _convert(v, item, f"{where}.{_shown(key)}", faults) for key, v in value.items()}


def _convert_scalar(value: Any, hint: Any, where: str, faults: list[str]) -> Any:
    if hint is float and type(value) is int:
        return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if type(value) is hint and not (hint is float and not math.isfinite(value)):
        return value
    extra = ""
    if hint is float and isinstance(value, str):
        extra = " YAML reads 1e-4 as text: write 1.0e-4."
    faults.append(f"{where}: must be {_name(hint)}, not {_kind(value)} {_shown(value, repr)}.{extra}")
    return None


def _shown(value: Any, form: Callable[[Any], str] = str) -> str:
    """The beginning of a value for a message; lists and mappings only by kind."""
    return printable(form(value), 60) if not isinstance(value, list | tuple | Mapping) else _kind(value)


def _name(hint: Any) -> str:
    names = {
        int: "a whole number",
        float: "a finite number",
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
