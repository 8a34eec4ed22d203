"""Your own folder of pictures: from class folders to a saved student that classifies files.

Without an argument it draws a small folder first. Run it by

    python examples/own_folder.py [FOLDER] [--epochs 8]
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import understudy


def draw_pictures(folder: Path, images_per_class: int = 60) -> Path:
    """Class folders of noisy pictures of several sizes: circles, squares and triangles."""
    random = np.random.default_rng(0)
    for shape in ("circle", "square", "triangle"):
        (folder / shape).mkdir(parents=True)
        for number in range(images_per_class):
            width, height = random.integers(40, 64, 2)
            noise = random.integers(0, 90, (height, width, 3), dtype=np.uint8)
            picture = Image.fromarray(noise)
            pen, colour = ImageDraw.Draw(picture), tuple(random.integers(120, 255, 3).tolist())
            left, top, side = *random.integers(4, 14, 2).tolist(), int(random.integers(20, 28))
            box = (left, top, left + side, top + side)
            if shape == "circle":
                pen.ellipse(box, fill=colour)
            elif shape == "square":
                pen.rectangle(box, fill=colour)
            else:
                top_corner = (left + side // 2, top)
                pen.polygon([(left, top + side), (left + side, top + side), top_corner], colour)
            picture.save(folder / shape / f"{number}.jpg", quality=92)
    return folder


def main(folder: Path, epochs: int) -> None:
    """Train teacher, baseline and student; measure them on images that none was trained on."""
    size = 32
    settings = {"image_size": size, "epochs": epochs, "batch_size": 32, "lr": 1e-2}
    teacher = understudy.train("resnet8", folder, **settings | {"epochs": max(epochs, 6)})
    baseline = understudy.train("tiny_dw", folder, **settings)
    student = understudy.distill(teacher, "tiny_dw", folder, "kd", **settings)
    # The folder has no test images of its own: a fifth of it was left out of all trainings.
    for name, network in (("teacher", teacher), ("baseline", baseline), ("student", student)):
        measured = network.evaluate(folder)
        print(f"{name}: {100 * measured.accuracy:.1f} % on test images")

    student.save(folder / "student.safetensors")
    loaded = understudy.Student.load(folder / "student.safetensors")
    files = sorted(folder.glob("*/*.jpg"))[::40]
    for file, label in zip(files, loaded.predict(files).tolist(), strict=True):
        print(f"{file.relative_to(folder)}: {loaded.class_names[label]}")


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path, nargs="?")
    arguments.add_argument("--epochs", type=int, default=8)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as place:
        main(given.folder or draw_pictures(Path(place, "shapes")), given.epochs)
