"""A run in the format of another tool, written to a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from evalkit.errors import SettingsError
from evalkit.exporting import chat_finetuning, inspect_log, otlp_spans
from evalkit.exporting.exported import Exported
from evalkit.runfile import output_files, reader

FORMATS: dict[str, Callable[..., Exported]] = {  # each with the function that writes it
    "chat-finetuning": chat_finetuning.write,
    "inspect": inspect_log.write,
    "otlp-json": otlp_spans.write,
}


def export_run(
    run: Path | str, form: str, path: Path | str, *, overwrite: bool = True, content: bool = False
) -> Exported:
    """Write a run in the format of another tool; of a run in progress, what has finished.

    Parameters
    ----------
    run : path-like
        The run file.
    form : str
        One of ``FORMATS``.
    path : path-like
    overwrite : bool
        Overwrite an earlier export. A file whose format cannot say that evalkit wrote it is never overwritten.
    content : bool
        Only for ``otlp-json``: with questions, answers and error messages.

    Returns
    -------
    Exported

    Raises
    ------
    RunFileError
        The file cannot be read as a run file.
    SettingsError
        The format is unknown or cannot have this run, or the file cannot be written.
    """
    if form not in FORMATS:
        raise SettingsError(f"there is no export format {form!r}: choose one of {', '.join(FORMATS)}")
    if content and form != "otlp-json":
        raise SettingsError(f"--content is for otlp-json, and the format is {form}: leave it out")
    with reader.reading(run) as connection:
        inputs = output_files.input_files((run,), [reader.run_info(connection)])
        with output_files.writing(Path(path), output_files.EXPORT, inputs, overwrite=overwrite) as draft:
            return FORMATS[form](connection, draft, **({"content": True} if content else {}))
