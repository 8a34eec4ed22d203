"""Networks by name, one file per family. Importing this loads no torch; building a network does."""

from understudy.models.registry import (
    MIN_IMAGE_SIZE,
    MODELS,
    build_model,
    deployed,
    describe_model,
    describe_models,
    list_models,
    model_options,
)

__all__ = [
    "MIN_IMAGE_SIZE",
    "MODELS",
    "build_model",
    "deployed",
    "describe_model",
    "describe_models",
    "list_models",
    "model_options",
]
