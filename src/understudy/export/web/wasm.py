"""The inner loop of the page's convolutions as WebAssembly, written instruction by instruction.

No toolchain is needed: the module has one function, :data:`PARAMETERS` -> nothing, and is a few
hundred bytes. JavaScript has no SIMD, WebAssembly has: four numbers an instruction.
"""

from collections.abc import Iterable

PARAMETERS = ("rows", "windows", "bias", "out", "number", "count", "length", "stride")
"""As in ``plainDots`` of ``kernels.js``, but offsets, ``length`` and ``stride`` are in bytes."""
_I32 = ("pair", "p", "x0", "x1", "w0", "w1", "w2", "w3", "end", "to")
_SUMS = tuple(f"sum{row}{column}" for row in range(4) for column in range(2))
_V128 = ("u", "v", "w", *_SUMS)
_LOCALS = {name: index for index, name in enumerate((*PARAMETERS, *_I32, *_V128))}

_TYPE_I32, _TYPE_V128, _NOTHING = b"\x7f", b"\x7b", b"\x40"
_END, _SELECT = b"\x0b", b"\x1b"
_ADD, _SUBTRACT, _MULTIPLY, _LESS = b"\x6a", b"\x6b", b"\x6c", b"\x48"
_F32_ADD = b"\x92"


def dots_module() -> bytes:
    """The module: it imports ``env.memory`` and exports ``dots``."""
    types = _vector([b"\x60" + _vector([_TYPE_I32] * len(PARAMETERS)) + _vector([])])
    imports = _vector([_name("env") + _name("memory") + b"\x02\x00" + _unsigned(1)])
    exports = _vector([_name("dots") + b"\x00\x00"])
    groups = [_unsigned(len(_I32)) + _TYPE_I32, _unsigned(len(_V128)) + _TYPE_V128]
    function = _vector(groups) + _body() + _END
    sections = {
        1: types,
        2: imports,
        3: _vector([_unsigned(0)]),
        7: exports,
        10: _vector([_unsigned(len(function)) + function]),
    }
    head = b"\0asm\x01\0\0\0"
    return head + b"".join(
        bytes([number]) + _unsigned(len(content)) + content for number, content in sections.items()
    )


def _body() -> bytes:
    """Four rows at a time: all pairs of windows."""
    set_rows = [_set(f"w{row}", _get("rows"), _scaled("length", row), _ADD) for row in range(4)]
    pair = [
        # min(pair, count - 2): an odd count computes one window twice.
        _set("p", _get("count"), _constant(2), _SUBTRACT),
        _set("p", _get("pair"), _get("p"), _get("pair"), _get("p"), _LESS, _SELECT),
        _set("x0", _get("windows"), _get("p"), _get("length"), _MULTIPLY, _ADD),
        _set("x1", _get("x0"), _get("length"), _ADD),
        *set_rows,
        _set("end", _get("x0"), _get("length"), _ADD),
        *(_set(name, _simd(12), bytes(16)) for name in _SUMS),
        _loop(_products(), _get("x0"), _get("end"), _LESS),
        _set("to", _get("out"), _get("p"), _constant(4), _MULTIPLY, _ADD),
        *_stores(),
        _step("pair", _constant(2)),
    ]
    rows = [
        _set("pair", _constant(0)),
        _loop(pair, _get("pair"), _get("count"), _LESS),
        _step("rows", _scaled("length", 4)),
        _step("bias", _constant(16)),
        _step("out", _scaled("stride", 4)),
        _set("number", _get("number"), _constant(4), _SUBTRACT),
    ]
    return _loop(rows, _get("number"))


def _products() -> list[bytes]:
    """Four numbers of two windows times those of four rows."""
    steps = [_set("u", _load("x0")), _set("v", _load("x1"))]
    for row in range(4):
        steps.append(_set("w", _load(f"w{row}")))
        for column, window in enumerate("uv"):
            total = f"sum{row}{column}"
            product = (_get("w"), _get(window), _simd(230))
            steps.append(_set(total, _get(total), *product, _simd(228)))
    pointers = ("x0", "x1", "w0", "w1", "w2", "w3")
    return [*steps, *(_step(pointer, _constant(16)) for pointer in pointers)]


def _stores() -> list[bytes]:
    """The sum of each accumulator's four numbers, and the row's bias, to ``out``."""
    steps = []
    for row in range(4):
        for column in range(2):
            total = _get(f"sum{row}{column}")
            lanes = [total + _simd(31) + bytes([lane]) for lane in range(4)]
            value = lanes[0] + b"".join(lane + _F32_ADD for lane in lanes[1:])
            bias = _get("bias") + b"\x2a\x02" + _unsigned(4 * row)
            steps.append(_get("to") + value + bias + _F32_ADD + b"\x38\x02" + _unsigned(4 * column))
        steps.append(_step("to", _get("stride")))
    return steps


def _get(name: str) -> bytes:
    return b"\x20" + _unsigned(_LOCALS[name])


def _set(name: str, *value: bytes) -> bytes:
    return b"".join(value) + b"\x21" + _unsigned(_LOCALS[name])


def _step(name: str, by: bytes) -> bytes:
    return _set(name, _get(name), by, _ADD)


def _scaled(name: str, factor: int) -> bytes:
    return _get(name) + _constant(factor) + _MULTIPLY


def _constant(value: int) -> bytes:
    assert 0 <= value < 64, value  # one byte of a signed LEB128 number
    return bytes([0x41, value])


def _load(pointer: str) -> bytes:
    """Four numbers, aligned to 16 bytes."""
    return _get(pointer) + _simd(0) + b"\x04\x00"


def _simd(operation: int) -> bytes:
    return b"\xfd" + _unsigned(operation)


def _loop(body: Iterable[bytes], *again: bytes) -> bytes:
    """Run ``body``, and repeat it while ``again`` is not zero."""
    return b"\x03" + _NOTHING + b"".join(body) + b"".join(again) + b"\x0d\x00" + _END


def _vector(items: list[bytes]) -> bytes:
    return _unsigned(len(items)) + b"".join(items)


def _name(text: str) -> bytes:
    return _unsigned(len(text)) + text.encode()


def _unsigned(value: int) -> bytes:
    """LEB128."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
