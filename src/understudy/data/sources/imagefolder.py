"""``imagefolder``: one folder of image files for each class, in a folder, a zip or a tar."""

from pathlib import Path

from understudy.data.archives import data_set_name, is_archive, scan_archive
from understudy.data.detect import ARCHIVES
from understudy.data.identity import identity
from understudy.data.image_folders import list_images
from understudy.data.sources.base import NO_OPTIONS, SourceOptions, existing, refuse_options
from understudy.data.sources.files import FileReader
from understudy.data.tree import scan_folder
from understudy.errors import UnderstudyError


class Reader(FileReader):
    """``<split>/<class>/...``, or ``<class>/...`` alone, at any depth below the class folder.

    Splits are folders called train or training; val, valid, validation or dev; test or testing, in
    any case. Classes are those of the training images in alphabetical order; the other splits are
    matched by name. Without a test split a stratified fifth is cut off, with a fixed seed.
    """

    @classmethod
    def find(cls, path: Path | None, cache: Path, options: SourceOptions = NO_OPTIONS) -> "Reader":
        """The folder or archive at ``path``."""
        if path is None:
            raise UnderstudyError(
                "the imagefolder source needs a folder, a zip or a tar: "
                "give it with --data PATH or UNDERSTUDY_DATA"
            )
        refuse_options("imagefolder", options, "group_by", "report_by", "skip_bad")
        place = existing(path)
        if place.is_dir():
            tree, found = scan_folder(place, skip_bad=options.skip_bad)
            listing = list_images(tree, options)
            return cls(listing.name, found, lambda: listing, options)
        if not is_archive(place):
            raise UnderstudyError(
                f"{place} is a file: the imagefolder source needs a folder with one folder of "
                f"images for each class, or an archive of it ({', '.join(ARCHIVES)})"
            )
        # The listing is made when it is needed: a compressed tar is read from start to end for it.
        return cls(
            data_set_name(place),
            identity(place.parent, [place]),
            lambda: list_images(scan_archive(place), options, is_archive=True),
            options,
        )
