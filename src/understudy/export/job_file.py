"""The entry of a program that measures, in a process of its own, what a file describes."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from understudy.errors import UnderstudyError, one_line
from understudy.files import from_json, write_json

Job = TypeVar("Job")


def carry_out(
    kind: type[Job], measure: Callable[[Job], Any], job_file: str, result_file: str
) -> int:
    """Read a job, measure, and write the result; an error is one line.

    Args:
        kind: of the job, a dataclass.
        measure: gives the result, as plain values or a dataclass.
        job_file, result_file: JSON.

    Returns:
        the exit code: 0, or 2 after an error.
    """
    try:
        content = json.loads(Path(job_file).read_bytes())
        job = from_json(kind, content, job_file, "this is a mistake in understudy")
        write_json(Path(result_file), measure(job))
    except UnderstudyError as error:
        print(one_line(error), file=sys.stderr)
        return 2
    return 0
