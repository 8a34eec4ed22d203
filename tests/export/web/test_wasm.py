"""The WebAssembly module is well-formed by its own lengths; what it computes is in test_kernels."""

from understudy.export.web.wasm import dots_module


def sections(module: bytes) -> dict[int, bytes]:
    """Number -> content."""
    found, at = {}, 8
    while at < len(module):
        number, at = module[at], at + 1
        length, at = unsigned(module, at)
        found[number] = module[at : at + length]
        at += length
    assert at == len(module)
    return found


def unsigned(module: bytes, at: int) -> tuple[int, int]:
    """A LEB128 number, and where the next byte is."""
    value = shift = 0
    while True:
        byte, at = module[at], at + 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def test_module_is_webassembly_with_one_function() -> None:
    module = dots_module()
    assert module[:8] == b"\0asm\1\0\0\0"
    found = sections(module)
    assert set(found) == {1, 2, 3, 7, 10}
    assert found[7] == b"\x01\x04dots\x00\x00"
    count, at = unsigned(found[10], 0)
    length, at = unsigned(found[10], at)
    assert (count, length) == (1, len(found[10]) - at)
    assert found[10].endswith(b"\x0b")


def test_module_is_small_enough_to_be_compiled_at_once() -> None:
    assert len(dots_module()) < 4096  # above, some browsers refuse to compile it synchronously
