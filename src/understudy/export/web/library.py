"""onnxruntime-web, for students that the page's own kernels cannot run: two files in the cache.

``python -m understudy.export.web.library`` (``make ort-web``) takes them from the npm package.
Pages and exports never download anything.
"""

import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from understudy.data.image_cache import cache_root
from understudy.errors import UnderstudyError, one_line
from understudy.files import write_bytes

VERSION = "1.30.0"
LIBRARY, CODE = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
SHA256 = {
    LIBRARY: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    CODE: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}


def folder() -> Path:
    """Where the files are, or will be."""
    return cache_root() / f"onnxruntime-web-{VERSION}"


def read(name: str) -> bytes:
    """One of the two files.

    Raises:
        UnderstudyError: if it is not there, or not the one of this version.
    """
    path = folder() / name
    try:
        content = path.read_bytes()
    except OSError:
        raise UnderstudyError(
            f"onnxruntime-web {VERSION} is not in {folder()}: fetch it once by make ort-web"
        ) from None
    _check(name, content, str(path))
    return content


def fetch() -> Path:
    """Take the files from the npm package, by npm, into the cache.

    Raises:
        UnderstudyError: if there is no npm or no network, or the files are others.
    """
    with tempfile.TemporaryDirectory() as temporary:
        command = ["npm", "pack", "--silent", f"onnxruntime-web@{VERSION}"]
        if shutil.which("npm") is None:
            raise UnderstudyError("npm is not installed; on Debian: apt-get install npm")
        done = subprocess.run(command, cwd=temporary, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
            raise UnderstudyError(f"npm cannot fetch onnxruntime-web {VERSION}: {reason[:200]}")
        (archive,) = Path(temporary).glob("*.tgz")
        with tarfile.open(archive) as package:
            for name in SHA256:
                member = package.extractfile(f"package/dist/{name}")
                assert member is not None, name
                content = member.read()
                _check(name, content, f"{name} of the npm package")
                write_bytes(folder() / name, content)
    return folder()


def _check(name: str, content: bytes, where: str) -> None:
    if hashlib.sha256(content).hexdigest() != SHA256[name]:
        raise UnderstudyError(
            f"{where} is not that of onnxruntime-web {VERSION}: fetch it again by make ort-web"
        )


if __name__ == "__main__":
    try:
        print(f"onnxruntime-web {VERSION} is in {fetch()}")
    except UnderstudyError as error:
        raise SystemExit(f"error: {one_line(error)}") from None
