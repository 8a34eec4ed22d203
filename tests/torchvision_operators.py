"""Two operators that torchvision (and through it timm) looks up when imported, where its own
extension does not load.

That is so where torch and torchvision were built for different accelerators. Test-only: import this
before ``torchvision``.
The operators are declared and not implemented; no classifier calls them.
"""

import importlib.machinery
import importlib.util

import torch

_libraries = []  # torch forgets the operators when their Library is collected


def _extension_loads() -> bool:
    package = importlib.util.find_spec("torchvision")
    assert package is not None, "import this only after pytest.importorskip found torchvision"
    extension = importlib.machinery.PathFinder.find_spec("_C", package.submodule_search_locations)
    if extension is None or extension.origin is None:
        return False
    try:
        torch.ops.load_library(extension.origin)
    except OSError:
        return False
    return True


if not _extension_loads():
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _libraries.append(library)
