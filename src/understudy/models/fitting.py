"""Weights of a file into a network, whatever envelopes and prefixes the training code added.

Nothing is guessed into place: in the end every tensor of the network has one of the same shape.
Which prefix to remove is found from the names themselves, the file's and the network's.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from torch import Tensor, nn

from understudy.data.names import counted, listed, shown
from understudy.errors import UnderstudyError, one_line
from understudy.models.checkpoints import Checkpoint
from understudy.models.hugging_face_names import names_in_file
from understudy.models.misfits import Misfit, Shape, guess, head_only

_WRAPPERS = frozenset(
    ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")
)
"""Parts of names that DataParallel, torch.compile and their like put in, at any depth."""
_COUNTS = ("total_ops", "total_params", "n_averaged")
"""Names of what thop counts and an average of weights: no part of any network."""
_DERIVED = ("position_ids", "relative_position_index", "attn_mask")
"""Names of tensors that follow from a network's structure: older versions saved them."""
_MAY_LACK = "num_batches_tracked"
"""Name of batch norm's counter, which files from before 2018 lack; evaluation does not use it."""
_LEAST_SHARE = 0.25
"""Share of a state dict's tensors that a prefix must cover: a layer inside is not the network."""
_MOST_PARTS = 16
"""Of a name, that may belong to a prefix."""
_MOST_PREFIXES = 6
_AVERAGE = re.compile(r"(^|[._])(ema|averaged?|swa)([._]|$)")


@dataclass(frozen=True)
class Fit:
    """How the tensors of one state dict of a file meet those of a network.

    Attributes:
        place: of the state dict in the file.
        removed, added: prefixes of the file's names, taken off and put on.
        unwrapped: parts like ``_orig_mod`` that were dropped inside of the names.
        found: name in the network -> the file's tensor of the same shape.
        misfit: where they differ.
        outside: names in the file that do not begin with ``removed``.
    """

    place: str
    removed: str
    added: str
    unwrapped: tuple[str, ...]
    found: Mapping[str, Tensor]
    misfit: Misfit
    outside: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """Whether the network gets all of its tensors, and nothing is left over."""
        return not self.misfit

    @property
    def rank(self) -> int:
        """Of several that are complete the smallest is meant: an average of weights, a teacher."""
        path = f"{self.place}.{self.removed}".lower()
        words = re.split(r"[._]", path)
        return 0 if _AVERAGE.search(path) else 1 if "teacher" in words else 2

    def line(self) -> str:
        """What was unwrapped, converted or passed over; empty for a plain state dict."""
        parts = []
        if self.place.endswith("*"):
            inside = self.place.rstrip("*.")
            parts.append(f"weights joined from the parts{' of ' if inside else ''}{shown(inside)}")
        elif self.place:
            parts.append(f"weights from {shown(self.place)}")
        if self.removed:
            parts.append(f"prefix {shown(self.removed)} removed")
        if self.added:
            parts.append(f"prefix {shown(self.added)} added")
        if self.unwrapped:
            parts.append(f"{listed(self.unwrapped)} removed inside names")
        kinds = {str(t.dtype) for t in self.found.values() if t.dtype.is_floating_point}
        converted = sorted(kind.removeprefix("torch.") for kind in kinds - {"torch.float32"})
        if converted:
            parts.append(f"{' and '.join(converted)} converted to float32")
        if self.misfit.counters:
            parts.append(f"without {counted(self.misfit.counters, 'counter')} of batch norm")
        passed = (*self.misfit.passed, *self.outside)
        if passed:
            parts.append(f"{counted(len(passed), 'tensor')} passed over: {listed(passed, 3)}")
        return ", ".join(parts)


def fit(checkpoint: Checkpoint, network: nn.Module) -> Fit:
    """The part of a file that fits a network, or else the one that comes closest.

    Args:
        checkpoint: the file.
        network: bare (:func:`understudy.models.deployed`), since a file has its own names.
    """
    wanted = _tensors_of(network)
    best = _best(checkpoint, wanted)
    names = {} if best.is_complete else names_in_file(network, wanted)
    if names:
        other = _best(checkpoint, {name: wanted[own] for name, own in names.items()})
        found = {names[name]: tensor for name, tensor in other.found.items()}
        best = min(best, replace(other, found=found), key=_key)
    return best


def load(
    checkpoint: Checkpoint, network: nn.Module, remedy: str = "", *, except_for: str = ""
) -> str:
    """Fill a network with the weights of a file.

    Args:
        checkpoint: the file.
        network: bare; unchanged after an error.
        remedy: what to do about a file for other classes, appended to that message.
        except_for: path of a layer that remains as it is where the file has none of its shape.

    Returns:
        One line: what was unwrapped, converted or passed over; empty for a plain state dict.

    Raises:
        UnderstudyError: with the first three names that differ, and why that may be.
    """
    found = fit(checkpoint, network)
    name = shown(str(checkpoint.path))
    if found.misfit.without(except_for):
        other = head_only(found.misfit) is not None
        raise UnderstudyError(
            f"{name} does not fit the network: {found.misfit.first()}; {guess(found.misfit)}"
            f"{remedy if other else ''}"
        )
    _require_values(found, _tensors_of(network), name)
    state = network.state_dict()  # with its versions: the names and shapes are those of this one
    state.update(found.found)
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError, NotImplementedError) as error:
        raise UnderstudyError(f"{name} does not fit the network: {one_line(error)}") from error
    return found.line()


def classes_in_file(checkpoint: Checkpoint, network: nn.Module) -> int | None:
    """The class count of a file that fits a network in everything but its last layer.

    Args:
        checkpoint: the file.
        network: bare, for another number of classes.

    Returns:
        How many classes the file's last layer has; 0 if the file has no last layer; ``None`` if
        the file fits as it is, or differs in more.
    """
    return head_only(fit(checkpoint, network).misfit)


def _best(checkpoint: Checkpoint, wanted: Mapping[str, Tensor]) -> Fit:
    """The best of all ways in which the state dicts of a file may be read; the first of equals."""
    fits = [
        each
        for place, tensors in checkpoint.state_dicts.items()
        for each in _fits(place, tensors, wanted)
    ]
    return min(fits, key=_key)


def _key(each: Fit) -> tuple[bool, int, int]:
    """Smaller is better: complete, then the one that is meant, then fewest differences."""
    return not each.is_complete, each.rank if each.is_complete else 0, each.misfit.size


def _fits(place: str, tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Iterator[Fit]:
    """The ways in which a state dict may be read, the plain one first."""
    plain = _compare(Fit(place, "", "", (), {}, Misfit(), ()), tensors, wanted)
    yield plain
    if plain.is_complete:
        return
    for names, dropped in _readings(tensors, wanted):
        renamed = {name: tensors[original] for name, original in names.items()}
        for removed, added in _prefixes(renamed, wanted):
            if removed or added or dropped:
                base = Fit(place, removed, added, dropped, {}, Misfit(), ())
                yield _compare(base, renamed, wanted)


def _readings(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> Iterator[tuple[dict[str, str], tuple[str, ...]]]:
    """Names of a file, unchanged and without the parts that wrappers put inside them.

    Yields:
        (name -> the file's name, what was dropped).
    """
    yield {name: name for name in tensors}, ()
    own = {part for name in wanted for part in name.split(".")}
    parts = {part for name in tensors for part in name.split(".")}
    dropped = tuple(sorted((_WRAPPERS & parts) - own))
    if not dropped:
        return
    clean = {}
    for name in tensors:
        clean[".".join(part for part in name.split(".") if part not in dropped)] = name
    if len(clean) == len(tensors):
        yield clean, dropped


def _prefixes(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]
) -> Iterator[tuple[str, str]]:
    """Pairs of (prefix to remove, prefix to add) by which most names agree."""
    yield "", ""
    for removed in _endings(tensors, wanted):
        yield removed, ""
    shared = _shared_prefix(tensors)
    for start in {"", shared}:
        inner = {name[len(start) :]: tensor for name, tensor in tensors.items()}
        for added in _endings(wanted, inner):
            yield start, added


def _endings(longer: Mapping[str, Tensor], shorter: Mapping[str, Tensor]) -> list[str]:
    """What names of ``longer`` have before a name of ``shorter``, the most frequent first."""
    votes: Counter[str] = Counter()
    for name in longer:
        start = 0
        for _ in range(_MOST_PARTS):
            start = name.find(".", start) + 1
            if not start:
                break
            if name[start:] in shorter:
                votes[name[:start]] += 1
    return [prefix for prefix, _ in votes.most_common(_MOST_PREFIXES)]


def _shared_prefix(names: Mapping[str, Tensor]) -> str:
    """The longest prefix, up to a dot, that all names have."""
    first, last = min(names), max(names)
    length = next(
        (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b),
        min(len(first), len(last)),
    )
    return first[: first.rfind(".", 0, length) + 1]


def _compare(base: Fit, tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> Fit:
    """``base`` with what its prefixes give."""
    found: dict[str, Tensor] = {}
    shapes: dict[str, tuple[Shape, Shape]] = {}
    unexpected: list[str] = []
    passed: list[str] = []
    outside: list[str] = []
    for name, tensor in tensors.items():
        inner = base.added + name[len(base.removed) :]
        last = name.rpartition(".")[2]
        if not name.startswith(base.removed):
            (passed if last in _COUNTS else outside).append(name)
        elif inner in wanted and _shape(wanted[inner]) == _shape(tensor):
            found[inner] = tensor
        elif inner in wanted:
            shapes[inner] = (_shape(tensor), _shape(wanted[inner]))
        else:
            (passed if last in (*_COUNTS, *_DERIVED) else unexpected).append(name)
    absent = [name for name in wanted if name not in found and name not in shapes]
    missing = tuple(name for name in absent if name.rpartition(".")[2] != _MAY_LACK)
    if len(found) + len(shapes) < _LEAST_SHARE * len(tensors):
        unexpected, outside = unexpected + outside, []
    misfit = Misfit(
        missing, tuple(unexpected), shapes, wanted, tuple(passed), len(absent) - len(missing)
    )
    return replace(base, found=found, misfit=misfit, outside=tuple(outside))


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)


def _tensors_of(network: nn.Module) -> dict[str, Tensor]:
    state = network.state_dict()
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _require_values(found: Fit, wanted: Mapping[str, Tensor], name: str) -> None:
    """Refuse tensors whose numbers are not the weights: quantised, of whole numbers, or absent.

    Raises:
        UnderstudyError: naming the first.
    """
    for key, tensor in found.found.items():
        own = wanted[key]
        reason = ""
        if tensor.is_meta:
            reason = "has a shape and no values"
        elif tensor.is_quantized or tensor.layout != own.layout:
            reason = "is quantised or sparse"
        elif own.dtype.is_floating_point and not tensor.dtype.is_floating_point:
            kind = str(tensor.dtype).removeprefix("torch.")
            reason = f"is {kind}, not floating point"
        if reason:
            raise UnderstudyError(
                f"{name} does not fit the network: {shown(key)} {reason}; give the fp32 weights"
            )
