"""The deployed network as ``torch.export`` captures it: where ONNX and ExecuTorch start from."""

import torch
from torch import nn
from torch.export import Dim, ExportedProgram
from torch.fx import Node

from understudy.data.spec import ImageSpec
from understudy.errors import UnderstudyError, one_line
from understudy.export.deployable import Deployable
from understudy.export.noise import quiet, quiet_stderr

INPUT, OUTPUT = "images", "probabilities"
"""Names of what goes in and comes out, in formats that name them."""
WITHIN = "network."
"""What the names of the network's parameters start with in the captured program."""
_RELU = (torch.ops.aten.relu.default, torch.ops.aten.relu_.default)
_WEIGHT = "weight"


def capture(deployable: Deployable, largest: int | None = None) -> ExportedProgram:
    """uint8 ``[N, C, H, W]`` to probabilities fp32 ``[N, K]`` for any N.

    Args:
        deployable: the network.
        largest: the most images in a call; any number by default.

    Raises:
        UnderstudyError: if PyTorch cannot export the network.
    """
    program = export(deployable.module(), deployable.preprocessing.image, largest)
    _relu_before_pool(program)
    return program


def export(module: nn.Module, image: ImageSpec, largest: int | None = None) -> ExportedProgram:
    """A module that takes uint8 ``[N, C, H, W]``, for any N up to ``largest``.

    Raises:
        UnderstudyError: if PyTorch cannot export it.
    """
    example = torch.zeros((largest or 2, *image.shape), dtype=torch.uint8)
    batch = Dim("batch", min=1, max=largest)
    try:
        # torch prints the code of a network that it cannot export; the message is enough.
        with quiet(), quiet_stderr(), torch.no_grad():
            return torch.export.export(
                module, (example,), dynamic_shapes=({0: batch},), strict=False
            )
    except Exception as error:
        raise UnderstudyError(
            f"torch.export cannot capture the network: {one_line(error, first_line=True)}"
        ) from error


def layer_of(weight: str) -> str:
    """The layer that a weight belongs to: ``network.stage1.conv.weight`` is of ``stage1.conv``."""
    name = weight.removeprefix(WITHIN).removesuffix(_WEIGHT)
    return name.rstrip("._")


def unsupported(program: ExportedProgram, error: BaseException, runtime: str) -> UnderstudyError:
    """The error for an operation that a format lacks, with its layer if the tool's message has it.

    Args:
        program: what was to be written.
        error: of the tool; its causes are read as well.
        runtime: name of the format.
    """
    causes = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    text = " ".join(map(str, causes))
    for node in program.graph.nodes:
        names = (f"%{node.name} :", str(node.target), f"'{_operation(node, '::')}'")
        if node.op == "call_function" and any(name in text for name in names):
            operation = _operation(node, ".").removeprefix("aten.")
            return UnderstudyError(
                f"{runtime} lacks the operation {operation} of {_place(node)}: replace it, or "
                "export to another format"
            )
    return UnderstudyError(
        f"{runtime} cannot express the network: {one_line(causes[-1], first_line=True)}: "
        "export to another format"
    )


def _operation(node: Node, separator: str) -> str:
    """Library and name of a node's operation, without its overload."""
    return separator.join(str(node.target).split(".")[:2])


def _place(node: Node) -> str:
    """The layer of the network that a node belongs to."""
    paths = [f"{path}." for path, _ in (node.meta.get("nn_module_stack") or {}).values()]
    layer = paths[-1].removeprefix(WITHIN).removesuffix(".") if paths else ""
    return f"layer {layer}" if layer else "the network"


def _relu_before_pool(program: ExportedProgram) -> None:
    """Move each ReLU that follows a max-pool in front of it.

    The numbers are the same. But the runtimes compute a ReLU together with the convolution before
    it, and the range of an int8 tensor ends at zero instead of covering what the ReLU cuts off.
    """
    for relu in list(program.graph.nodes):
        pool = relu.args[0] if relu.target in _RELU else None
        if not isinstance(pool, Node) or pool.target is not torch.ops.aten.max_pool2d.default:
            continue
        source = pool.args[0]
        assert isinstance(source, Node)
        if len(pool.users) > 1 or len(source.users) > 1:
            continue
        relu.replace_all_uses_with(pool)
        pool.prepend(relu)
        relu.target = torch.ops.aten.relu.default
        relu.args, pool.args = (source,), (relu, *pool.args[1:])
        relu.meta["val"], pool.meta["val"] = source.meta["val"], relu.meta["val"]
    program.graph_module.recompile()
