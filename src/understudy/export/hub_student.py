"""The student with torch alone, and with Pillow for image files: ``python student.py IMAGE...``.

In a program ``Student()(images)`` turns uint8 RGB ``[N, 3, H, W]`` into probabilities ``[N, K]``,
and ``Student().read(path)`` turns an image file into one such image. Free to copy and to change.
"""

import json
import math
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
            own = file.size if orientation not in (5, 6, 7, 8) else file.size[::-1]
            box, target = plan(own, (width, height), rule["resize"])
            scale = draft(file, box, target)
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
        if image.size != (width, height) or scale > 1:
            x = image.width - own[0] / scale if orientation in (2, 3, 6, 7) else 0
            y = image.height - own[1] / scale if orientation in (3, 4, 7, 8) else 0
            part = [side / scale + shift for side, shift in zip(box, (x, y, x, y), strict=True)]
            image = resized(image, part, target)
        canvas = Image.new("RGB", (width, height))
        canvas.paste(image, ((width - image.width) // 2, (height - image.height) // 2))
        return torch.from_numpy(np.array(canvas)).permute(2, 0, 1)


def plan(own: Any, size: Any, resize: str) -> tuple[Any, Any]:
    """Left, top, right and bottom of the part that is resized, and to which (width, height)."""
    wide, tall = inside(size, own) if resize == "crop" else own
    left, top = (own[0] - wide) // 2, (own[1] - tall) // 2
    return (left, top, left + wide, top + tall), inside(own, size) if resize == "pad" else size


def inside(own: Any, size: Any) -> tuple[int, int]:
    """The largest (width, height) of the proportions of ``own`` that fits inside ``size``."""
    if own[0] * size[1] <= own[1] * size[0]:
        return max(1, round(own[0] * size[1] / own[1])), size[1]
    return size[0], max(1, round(own[1] * size[0] / own[0]))


def draft(file: Any, box: Any, target: Any) -> int:
    """Have a JPEG file decoded at 1/8, 1/4 or 1/2 if 5/4 of the target are left in the box."""
    if file.format not in ("JPEG", "MPO"):
        return 1
    reduction = min((box[2] - box[0]) / target[0], (box[3] - box[1]) / target[1])
    scale = next((scale for scale in (8, 4, 2) if 4 * reduction >= 5 * scale), 1)
    file.draft(None, (file.width // scale, file.height // scale))
    return scale


def resized(image: Any, box: Any, target: Any) -> Any:
    """The part of an image, cut out at whole pixels and resized along the lines first."""
    from PIL import Image

    x, y = math.floor(box[0]), math.floor(box[1])
    image = image.crop((x, y, math.ceil(box[2]), math.ceil(box[3])))
    left, top, right, bottom = box[0] - x, box[1] - y, box[2] - x, box[3] - y
    for side in (1, 0) if target[0] > right - left and target[1] < bottom - top else (0, 1):
        if side == 0:
            size, part = (target[0], image.height), (left, 0, right, image.height)
        else:
            size, part = (image.width, target[1]), (0, top, image.width, bottom)
        image = image.resize(size, Image.Resampling.BILINEAR, part)
    return image


if __name__ == "__main__":
    student = Student()
    for path in sys.argv[1:]:
        probability, index = student(student.read(path)[None])[0].max(0)
        print(f"{path}: {student.card['classes'][index]} {probability:.1%}")
