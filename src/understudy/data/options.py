"""How a source reads its files, beyond where they are."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from understudy.config.images import DataConfig


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """How a source reads its files; each source takes those that it can use and refuses others.

    Attributes:
        columns: role -> name in the files: of a table ``image``, ``label``, ``split``, ``group``,
            ``slice``, of an .npz file ``train_images``, ``train_labels``, ``test_images``, ...
        group_by: regular expression on an image's path: images with the same match (of the first
            group in parentheses, if there is one) are one group.
        report_by: the same for slices, by which results are reported.
        skip_bad: go on without images that cannot be read.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    group_by: str | None = None
    report_by: str | None = None
    skip_bad: bool = False

    def key(self) -> str:
        """What of the options changes the arrays, for the name of a cache entry."""
        return json.dumps(asdict(self), sort_keys=True) if self != NO_OPTIONS else ""


NO_OPTIONS = SourceOptions()
"""The usual columns, no groups, no slices, and every image must be readable."""


def source_options(config: "DataConfig") -> SourceOptions:
    """How the source reads its files."""
    return SourceOptions(
        columns=config.columns,
        group_by=config.group_by,
        report_by=config.report_by,
        skip_bad=config.skip_bad,
    )
