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
            image: Image.Image = file.copy()
        exif.load(image.info.get("exif", b""))
        turned = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}.get(exif.get(0x0112, 1))
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
        if rule["resize"] != "squash":  # crop covers the size, pad fits inside
            is_tall = image.width * height <= image.height * width
            if is_tall == (rule["resize"] == "crop"):
                tall = max(1, round(image.height * width / image.width))
            else:
                wide = max(1, round(image.width * height / image.height))
        canvas = Image.new("RGB", (width, height))
        lines = image.resize((wide, image.height), Image.Resampling.BILINEAR)  # lines come first
        resized = lines.resize((wide, tall), Image.Resampling.BILINEAR)
        canvas.paste(resized, (int((width - wide) / 2), int((height - tall) / 2)))
        return torch.from_numpy(np.array(canvas)).permute(2, 0, 1)


if __name__ == "__main__":
    student = Student()
    for path in sys.argv[1:]:
        probability, index = student(student.read(path)[None])[0].max(0)
        print(f"{path}: {student.card['classes'][index]} {probability:.1%}")
