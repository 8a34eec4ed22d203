"""Names of tensors in the files of ``transformers``, which since version 5 are not the network's.

The library renames them whenever it saves or loads, so that files of every version stay readable.
"""

import sys
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn


def names_in_file(network: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Name in a file -> name in the network; empty if they are the same, or not known.

    ``revert_weight_conversion`` is internal to transformers; it is there in 5.24. Without it, or if
    it does more than rename, the network's own names are those of its files.

    Args:
        network: of any library.
        tensors: its state dict.
    """
    if "transformers" not in sys.modules or not hasattr(network, "from_pretrained"):
        return {}
    try:
        from transformers.core_model_loading import revert_weight_conversion

        library: Any = network
        saved = revert_weight_conversion(library, dict(tensors))
        renamed = {tensor.data_ptr(): name for name, tensor in saved.items()}
        names = {renamed[tensor.data_ptr()]: name for name, tensor in tensors.items()}
    except (ImportError, AttributeError, KeyError, TypeError, ValueError):
        return {}
    is_renaming = len(saved) == len(tensors) == len(names)
    return names if is_renaming and any(a != b for a, b in names.items()) else {}
