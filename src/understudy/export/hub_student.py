"""The student with torch alone, and with Pillow for image files: ``python student.py IMAGE...``.

In a program ``Student()(images)`` turns uint8 RGB ``[N, 3, H, W]`` into probabilities ``[N, K]``,
and ``Student().read(path)`` turns an image file into one such image. Free to copy and to change.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

OPERATIONS: dict[str, Any] = {
    "conv": lambda o, x, w, b: F.conv2d(
        x, w, b, o["stride"], o["padding"], o["dilation"], o["groups"]
    ),
    "linear": lambda o, x, w, b: F.linear(x, w, b),
    "pool max": lambda o, x: F.max_pool2d(x, o["kernel"], o["stride"], o["padding"]),
    "pool avg": lambda o, x: F.avg_pool2d(
        x, o["kernel"], o["stride"], o["padding"], count_include_pad=o["counts_padding"]
    ),
    "global_pool max": lambda o, x: x.amax((2, 3)),
    "global_pool avg": lambda o, x: x.mean((2, 3)),
    "activation relu": lambda o, x: F.relu(x),
    "activation relu6": lambda o, x: F.relu6(x),
    "activation hardswish": lambda o, x: F.hardswish(x),
    "activation hardsigmoid": lambda o, x: F.hardsigmoid(x),
    "activation sigmoid": lambda o, x: torch.sigmoid(x),
    "activation silu": lambda o, x: F.silu(x),
    "add": lambda o, x, y: x + y,
    "multiply": lambda o, x, y: x * (y if y.dim() == x.dim() else y[:, :, None, None]),
}
"""What a layer of config.json computes from its options, its inputs, its weight and its bias."""


class Student(torch.nn.Module):
    """The network in this folder: layers from config.json, weights from model.safetensors."""

    scale: Tensor
    shift: Tensor

    def __init__(self, folder: Path = Path(__file__).parent) -> None:
        super().__init__()
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self.layers, self.card = config["layers"], config["understudy"]
        data = bytearray((folder / "model.safetensors").read_bytes())
        start = 8 + int.from_bytes(data[:8], "little")  # a length, a header in JSON, the numbers
        for name, entry in json.loads(data[8:start]).items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                numbers = torch.frombuffer(
                    data, dtype=torch.float32, count=(end - begin) // 4, offset=start + begin
                )
                self.register_buffer(name.replace(".", ":"), numbers.view(entry["shape"]))
        mean, std = (torch.tensor(self.card[key], dtype=torch.float64) for key in ("mean", "std"))
        self.register_buffer("scale", (1 / (255 * std)).float().view(-1, 1, 1))
        self.register_buffer("shift", (-mean / std).float().view(-1, 1, 1))

    @torch.inference_mode()
    def forward(self, images: Tensor) -> Tensor:
        """uint8 RGB ``[N, 3, H, W]`` to probabilities fp32 ``[N, K]``."""
        values, name = {"input": images.float() * self.scale + self.shift}, "input"
        for layer in self.layers:
            name, operation = layer["name"], " ".join([layer["op"], layer.get("kind", "")]).strip()
            inputs = [values[source] for source in layer["inputs"]]
            if operation in ("conv", "linear"):
                key = name.replace(".", ":")
                inputs += [getattr(self, f"{key}:weight"), getattr(self, f"{key}:bias")]
            values[name] = OPERATIONS[operation](layer, *inputs)
        return values[name].softmax(1)

    def read(self, path: Path | str) -> Tensor:
        """An image file as uint8 RGB ``[3, H, W]``, by the rule in README.md."""
        import numpy as np
        from PIL import Image

        rule, exif = self.card["preprocessing"], Image.Exif()
        height, width = rule["image"]["height"], rule["image"]["width"]
        with Image.open(path) as file:
            if file.width * file.height > rule["max_pixels"]:
                raise ValueError(f"{path} has more than {rule['max_pixels']} pixels")
            exif.load(file.info.get("exif", b""))
            orientation = exif.get(0x0112, 1)
            draft(file, (height, width) if 4 < orientation < 9 else (width, height), rule["resize"])
            image: Image.Image = file.copy()
        turned = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}.get(orientation)
        if image.mode.startswith("I;16") or (image.mode == "I" and file.format == "PPM"):
            deep = np.asarray(image)  # 16 bits: the upper 8, and white where it is transparent
            clear = deep == image.info.get("transparency", -1)
            image = Image.fromarray(np.where(clear, 255, deep >> 8).astype(np.uint8))
        elif image.mode in ("I", "F"):
            raise ValueError(f"{path} has neither 8 nor 16 bits a channel")
        if image.has_transparency_data:
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image.convert("RGBA"))
        image = image.convert("RGB")
        if turned is not None:
            image = image.transpose(Image.Transpose(turned))
        wide, tall = width, height
        if rule["resize"] == "crop" and image.size != (width, height):
            part = inside((width, height), image.size)
            left, top = (image.width - part[0]) // 2, (image.height - part[1]) // 2
            image = image.crop((left, top, left + part[0], top + part[1]))
        elif rule["resize"] == "pad":
            wide, tall = inside(image.size, (width, height))
        columns_first = wide > image.width and tall < image.height
        for size in ((image.width, tall) if columns_first else (wide, image.height), (wide, tall)):
            image = image.resize(size, Image.Resampling.BILINEAR)
        canvas = Image.new("RGB", (width, height))
        canvas.paste(image, ((width - wide) // 2, (height - tall) // 2))
        return torch.from_numpy(np.array(canvas)).permute(2, 0, 1)


def inside(own: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """The largest (width, height) of the proportions of ``own`` that fits inside ``size``."""
    if own[0] * size[1] <= own[1] * size[0]:
        return max(1, round(own[0] * size[1] / own[1])), size[1]
    return size[0], max(1, round(own[1] * size[0] / own[0]))


def draft(file: Any, size: tuple[int, int], resize: str) -> None:
    """Have a JPEG file decoded at 1/8, 1/4 or 1/2 if that leaves 5/4 of the size to resize."""
    if file.format not in ("JPEG", "MPO") or file.size == size:
        return
    part = inside(size, file.size) if resize == "crop" else file.size
    aim = inside(file.size, size) if resize == "pad" else size
    reduction = min(part[0] / aim[0], part[1] / aim[1])
    scale = next((scale for scale in (8, 4, 2) if 4 * reduction >= 5 * scale), 1)
    if scale > 1:
        file.draft(None, (file.width // scale, file.height // scale))


if __name__ == "__main__":
    student = Student()
    for path in sys.argv[1:]:
        probability, index = student(student.read(path)[None])[0].max(0)
        print(f"{path}: {student.card['classes'][index]} {probability:.1%}")
