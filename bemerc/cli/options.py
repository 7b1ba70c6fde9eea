"""Arguments and options that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from bemerc.core.objects import is_url

if TYPE_CHECKING:
    from bemerc.core.config import Document


T = TypeVar("T")


def path_of(text: str | Path) -> Path:
    """A path as it was given. An empty one is a shell's unset variable, and would be the folder that one is in."""
    text = text_of(str(text))
    if is_url(text):
        raise typer.BadParameter("only 'bemerc extract' reads from an object store; measure there, then name --caches")
    return Path(text.removeprefix("file://"))


def text_of(text: str) -> str:
    """A path or URL as it was given, which is not empty."""
    if not text:
        raise typer.BadParameter("it is empty, as an unset variable is; for the folder that you are in write '.'")
    return text


Source = Annotated[
    Path | None,
    typer.Argument(
        parser=path_of,
        metavar="SOURCE",
        help="A folder of clips, a single clip, or a manifest.jsonl. A subfolder is one dialogue, a clip outside of one too.",
        show_default=False,
    ),
]
VideoDir = Annotated[
    Path | None,
    typer.Option("--video-dir", parser=path_of, metavar="PATH", help="Folder of clips: another way to write SOURCE."),
]
ClipSource = Annotated[
    str | None,
    typer.Argument(
        parser=text_of,
        metavar="SOURCE",
        help="A folder of clips, a single clip (s3:// and gs:// too), or a manifest.jsonl. A subfolder is one dialogue, a clip outside of one too.",
        show_default=False,
    ),
]
ClipSourceDir = Annotated[
    str | None,
    typer.Option("--video-dir", parser=text_of, metavar="PATH", help="Folder of clips: another way to write SOURCE."),
]
OutDir = Annotated[
    Path | None,
    typer.Option(
        "--out",
        parser=path_of,
        metavar="PATH",
        help="Folder for what is made. Default: features, features/NAME for a single clip.",
    ),
]
OutLocation = Annotated[
    str | None,
    typer.Option(
        "--out",
        parser=text_of,
        metavar="PATH",
        help="Folder for what is made (s3:// and gs:// too). Default: features, features/NAME for a single clip.",
    ),
]
ModelFolder = Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder, such as models/merc/TVB.")]
ClipsDir = Annotated[Path | None, typer.Option("--video-dir", help="Where the clips lie, for words and pictures.")]
Caches = Annotated[
    Path | None,
    typer.Option("--caches", parser=path_of, metavar="PATH", help="Use these caches (imported, say); measure nothing."),
]
ManifestFile = Annotated[Path | None, typer.Option("--manifest", help="The corpus's manifest.jsonl.")]
ParamsFile = Annotated[
    Path | None,
    typer.Option(
        "--params", help="Params file; what it lacks has its default. Else params.yaml here, if there is one."
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One setting in place of the params file's, such as tokens.k=4."),
]
DataDir = Annotated[Path, typer.Option("--data", help="Folder of manifest.jsonl and everything made of it.")]
ModelsDir = Annotated[Path, typer.Option("--models", help="Folder of backbone/, align/ and merc/VARIANT/.")]
Workers = Annotated[
    int,
    typer.Option("--workers", min=0, max=256, envvar="BEMERC_WORKERS", help="Worker processes; 0 = one per core."),
]
RetryFailed = Annotated[
    bool,
    typer.Option("--retry-failed", envvar="BEMERC_RETRY_FAILED", help="Try the clips again that failed before."),
]
Asr = Annotated[
    str | None, typer.Option("--asr", help="A Whisper (name or folder) that transcribes what has no subtitles.")
]
Teacher = Annotated[
    str | None, typer.Option("--teacher", help="A vision-language model (Qwen2-VL family, name or folder).")
]
Backbone = Annotated[
    str | None,
    typer.Option("--backbone", help="Where the backbone lies (folder or hub name), if not where the model says."),
]
TensorBoard = Annotated[
    Path | None, typer.Option("--tensorboard", envvar="BEMERC_TENSORBOARD", help="Folder for TensorBoard's events.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def read_params(params: Path | None, settings: list[str] | None) -> "Document":
    """What --params and --set name."""
    import logging

    from bemerc.core.config import open_document

    document = open_document(params, settings or ())
    name = str(document) if params is not None or Path("params.yaml").is_file() else "the defaults"
    logging.getLogger(__name__).info("Params: %s", ", ".join([name, *(settings or ())]))
    _opened.append(document)
    return document


_opened: list["Document"] = []  # by the command that runs


def unread_settings() -> list[str]:
    """Sections that --set has changed and the command has not read; asked again, none."""
    sections = sorted({section for document in _opened for section in document.unread})
    _opened.clear()
    return sections


def source_of(source: T | None, video_dir: T | None, caches: Path | None = None) -> T | None:
    """What is measured: SOURCE or --video-dir; None where --caches stands for it."""
    if source is not None and video_dir is not None:
        raise typer.BadParameter("name SOURCE or --video-dir, not both")
    if source is None and video_dir is None and caches is None:
        raise typer.BadParameter("name a folder of clips, a clip or a manifest.jsonl")
    return source or video_dir
