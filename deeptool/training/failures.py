"""What fails while a trial trains, in words: how far it came, and what user code raised where."""

from __future__ import annotations

import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deeptool.errors import DeeptoolError, WorkError
from deeptool.settings.usercode import shown_path

# As Python writes the frames of a traceback; TensorFlow puts them into the text of its errors.
_FRAME = re.compile(r'^\s*File "(?P<file>[^"]+)", line (?P<line>\d+)', re.MULTILINE)
# Behind its frames, which are indented, to the next empty line.
_RAISED = re.compile(
    r"^Traceback \(most recent call last\):\n(?:[ \t].*\n|\n)+(?P<error>\S.*(?:\n\S.*)*)",
    re.MULTILINE,
)
# What TensorFlow writes before and behind the error of an operation in a graph.
_GRAPH = re.compile(
    r"^Graph execution error:\s*(?:Detected at node .*?\n(?:\s*(?:File |<).*\n|\s*\n)*)*"
)
_NODE = re.compile(r"\s*\[\[\{\{node .*", re.DOTALL)
_LONGEST = 600


@contextmanager
def told(
    folders: tuple[Path, ...],
    how_far: Callable[[], str],
    blamed: Callable[[Exception], str | None] = lambda error: None,
) -> Iterator[None]:
    """Say of what is raised within how far training came, and where it was raised.

    TensorFlow's errors become a WorkError: what a Python function in its graph raised is only a
    text in them. What a callback raises stays what it is, since a tuner may wait for it, with a
    WorkError as its cause.

    Parameters
    ----------
    folders : tuple of Path
        Where the user's files are.
    how_far : callable
        Says when it failed, as in "in epoch 2, after 3 batches".
    blamed : callable
        Where an error of TensorFlow that names no line of the user's files comes from.

    Raises
    ------
    WorkError
        For an error of TensorFlow.
    """
    import tensorflow as tf

    try:
        yield
    except DeeptoolError:
        raise
    except tf.errors.OpError as error:
        raise _in_graph(error, folders, how_far(), blamed) from error
    except Exception as error:
        frames = [(f.filename, f.lineno or 0) for f in traceback.extract_tb(error.__traceback__)]
        raise error from _failure(one_line(error), _place(frames, folders), how_far())


def described(error: Exception) -> Exception:
    """What to show of an error: the WorkError that `told` left with a callback's."""
    if isinstance(error, DeeptoolError) or not isinstance(error.__cause__, WorkError):
        return error
    return error.__cause__


@contextmanager
def shown() -> Iterator[None]:
    """For a command, whose reader wants one description and waits for no type: `described`."""
    try:
        yield
    except Exception as error:
        known = described(error)
        if known is error:
            raise
        raise known from error


def one_line(error: BaseException) -> str:
    """Type and text of an error, without what follows the first paragraph of the text."""
    text = short(operation_error(str(error).strip()).partition("\n\n")[0])
    return f"{type(error).__name__}{': ' * bool(text)}{text}"


def operation_error(text: str) -> str:
    """The text of an error without what TensorFlow says of the operation and where it was made."""
    return _NODE.sub("", _GRAPH.sub("", text)).strip()


def in_user_files(error: BaseException, folders: tuple[Path, ...]) -> str | None:
    """``file:line, in function`` of the innermost frame of an error that is in the user's files."""
    frames = traceback.extract_tb(error.__traceback__)
    near = [frame for frame in frames if Path(frame.filename).parent in folders]
    if near:
        return f"{shown_path(Path(near[-1].filename))}:{near[-1].lineno}, in {near[-1].name}"
    # TensorFlow has those where an operation was made in its text.
    return _place([(m["file"], int(m["line"])) for m in _FRAME.finditer(str(error))], folders)


def short(text: str) -> str:
    """`text`, cut where it is too long for an error."""
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def _in_graph(
    error: Exception,
    folders: tuple[Path, ...],
    how_far: str,
    blamed: Callable[[Exception], str | None],
) -> WorkError:
    text = str(error)
    frames = [(match["file"], int(match["line"])) for match in _FRAME.finditer(text)]
    raised = [match["error"] for match in _RAISED.finditer(text)]
    what = short(raised[-1]) if raised else one_line(error)
    return _failure(what, _place(frames, folders) or blamed(error), how_far)


def _failure(what: str, place: str | None, how_far: str) -> WorkError:
    return WorkError(
        f"training failed {how_far}: {what}",
        seen=place,
        next_step="correct it there, then start the trial again; --debug shows the whole traceback"
        if place
        else "run it again with --debug for the whole traceback",
    )


def _place(frames: list[tuple[str, int]], folders: tuple[Path, ...]) -> str | None:
    near = [frame for frame in frames if Path(frame[0]).parent in folders]
    return f"{shown_path(Path(near[-1][0]))}:{near[-1][1]}" if near else None
