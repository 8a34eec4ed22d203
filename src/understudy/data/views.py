"""Augmentation that can be replayed: view parameters are a pure function of (seed, epoch, image), applied in batches.

A *view* is one variation of an image. :class:`ViewPolicy` draws the parameters of all views of an epoch at once, from
nothing but the seed and the epoch's number, so that a teacher's outputs for them can be computed in bulk, kept, and
found again by any later run that shows the same views. :func:`render` turns raw bytes and parameters into normalised
images, on the device the bytes are on, without Python per image.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from understudy.config.schema import AugmentConfig
from understudy.data import photometric


@dataclass(frozen=True, eq=False)
class Views:
    """Parameters of one view for each of N images; ``None`` where the policy does not vary it.

    Attributes:
        top, left: int64 ``[N]``, offset of the crop in the padded image, 0 to 2 * padding.
        flip: bool ``[N]``, mirror horizontally.
        partner: int64 ``[N]``, the image mixed in.
        share: float32 ``[N]``, this image's share of the mixture (and of the label).
        box: int64 ``[N, 4]``, top, left, bottom, right of CutMix's patch.
        operations: int64 ``[N, R]``, photometric operations in order; strengths: float32 ``[N, R]`` in [0, 1].
    """

    top: Tensor | None = None
    left: Tensor | None = None
    flip: Tensor | None = None
    partner: Tensor | None = None
    share: Tensor | None = None
    box: Tensor | None = None
    operations: Tensor | None = None
    strengths: Tensor | None = None

    def __getitem__(self, rows: Tensor) -> "Views":
        """The views of these images (int64 ``[M]``)."""
        return Views(
            *(None if (v := getattr(self, f.name)) is None else v[rows] for f in fields(self))
        )

    def to(self, device: torch.device) -> "Views":
        """The same parameters on ``device``."""
        return Views(
            *(None if (v := getattr(self, f.name)) is None else v.to(device) for f in fields(self))
        )


def generator_for(*key: object) -> torch.Generator:
    """A CPU generator whose stream depends on ``key`` alone: one per purpose, seed and epoch, never shared state."""
    digest = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


class ViewPolicy:
    """Draws the views of an epoch.

    Args:
        config: what varies.
        seed: of the run; ``config.view_seed`` takes its place where given.
        num_images: N.
        image_shape: (channels, height, width).
    """

    def __init__(
        self, config: AugmentConfig, seed: int, num_images: int, image_shape: tuple[int, int, int]
    ) -> None:
        self.config = config
        self.seed = seed if config.view_seed is None else config.view_seed
        self.num_images = num_images
        self.image_shape = image_shape

    @property
    def num_views(self) -> int | None:
        """How many different views an image has: 162 for padding 4 with flips; ``None`` for a policy without end."""
        if self.config.mix != "none" or self.config.photometric:
            return None
        side = 2 * self.config.padding + 1
        return side * side * (2 if self.config.flip else 1)

    @property
    def fingerprint(self) -> str:
        """Hex digest of all that determines which views there are (and, for an endless policy, which come when)."""
        content: dict[str, object] = asdict(self.config)
        del content["view_seed"]
        # Caches on disk were named when the photometric operations were called randaugment.
        content["randaugment"] = content.pop("photometric")
        content["randaugment_magnitude"] = content.pop("photometric_magnitude")
        content |= {"version": 1, "images": self.num_images, "shape": self.image_shape}
        if self.num_views is None:
            content["seed"] = self.seed
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def epoch(self, epoch: int) -> Views:
        """The views of every image in this epoch (int, from 0), on the CPU."""
        n, config = self.num_images, self.config
        rng = generator_for("views", self.seed, epoch)
        views = Views()
        if config.padding:
            side = 2 * config.padding + 1
            views = replace(
                views,
                top=torch.randint(side, (n,), generator=rng),
                left=torch.randint(side, (n,), generator=rng),
            )
        if config.flip:
            views = replace(views, flip=torch.rand(n, generator=rng) < 0.5)
        if config.photometric:
            shape = (n, config.photometric)
            views = replace(
                views,
                operations=torch.randint(len(photometric.OPERATIONS), shape, generator=rng),
                strengths=config.photometric_magnitude * torch.rand(shape, generator=rng),
            )
        if config.mix != "none":
            views = self._mix(views, epoch, rng)
        return views

    def _mix(self, views: Views, epoch: int, rng: torch.Generator) -> Views:
        n, (_, height, width) = self.num_images, self.image_shape
        partner = torch.randperm(n, generator=rng)
        # torch's Beta takes no generator; numpy's does, and is stable across platforms.
        numpy_rng = np.random.Generator(
            np.random.PCG64(int(torch.randint(2**62, (1,), generator=rng)))
        )
        share = torch.from_numpy(
            numpy_rng.beta(self.config.mix_alpha, self.config.mix_alpha, n).astype(np.float32)
        )
        if self.config.mix == "mixup":
            return replace(views, partner=partner, share=share)
        side = (1 - share).sqrt()
        centre_y = torch.randint(height, (n,), generator=rng)
        centre_x = torch.randint(width, (n,), generator=rng)
        half_y, half_x = (side * height / 2).long(), (side * width / 2).long()
        top, bottom = (centre_y - half_y).clamp(0, height), (centre_y + half_y).clamp(0, height)
        left, right = (centre_x - half_x).clamp(0, width), (centre_x + half_x).clamp(0, width)
        # The label's share follows the patch as it was clipped by the border, as in the paper's own code.
        share = 1 - ((bottom - top) * (right - left)).float() / (height * width)
        return replace(
            views, partner=partner, share=share, box=torch.stack((top, left, bottom, right), 1)
        )

    def plain(self) -> Views:
        """Every image as it is, neither cropped, flipped, mixed nor varied otherwise; a finite policy numbers this view, too."""
        middle = (
            torch.full((self.num_images,), self.config.padding) if self.config.padding else None
        )
        flip = torch.zeros(self.num_images, dtype=torch.bool) if self.config.flip else None
        return Views(top=middle, left=middle, flip=flip)

    def view_ids(self, views: Views) -> Tensor:
        """int64 ``[N]``, the number of each view in ``[0, num_views)``; only for a finite policy."""
        assert self.num_views is not None, "an endless policy has no view numbers"
        count = next((len(v) for v in (views.top, views.flip) if v is not None), self.num_images)
        ids = torch.zeros(count, dtype=torch.int64)
        if views.top is not None and views.left is not None:
            ids = views.top * (2 * self.config.padding + 1) + views.left
        return ids if views.flip is None else 2 * ids + views.flip.long()

    def views_of(self, ids: Tensor) -> Views:
        """The views with these numbers (int64 ``[M]``): the inverse of :meth:`view_ids`."""
        assert self.num_views is not None, "an endless policy has no view numbers"
        views = Views()
        if self.config.flip:
            views, ids = replace(views, flip=ids % 2 == 1), ids // 2
        if self.config.padding:
            side = 2 * self.config.padding + 1
            views = replace(views, top=ids // side, left=ids % side)
        return views


class Normalise:
    """Bytes to floats: ``(x / 255 - mean) / std`` per channel, as one multiply-add over rows of pixels."""

    def __init__(
        self, mean: tuple[float, ...], std: tuple[float, ...], width: int, device: torch.device
    ) -> None:
        self.mean, self.std = mean, std
        scale = 1.0 / (255.0 * torch.tensor(std, dtype=torch.float64))
        shift = -torch.tensor(mean, dtype=torch.float64) / torch.tensor(std, dtype=torch.float64)
        # One factor per channel, repeated along the row: a row of width * channels vectorises, three channels do not.
        self._scale = scale.float().repeat(width).to(device)
        self._shift = shift.float().repeat(width).to(device)

    def __call__(self, images: Tensor) -> Tensor:
        """float32 ``[B, C, H, W]`` (channels-last memory) from uint8 or float ``[B, H, W, C]`` in 0..255."""
        batch, height, width, channels = images.shape
        rows = images.reshape(batch * height, width * channels)
        floats = torch.addcmul(self._shift, rows.float(), self._scale)
        return floats.view(batch, height, width, channels).permute(0, 3, 1, 2)


def render(
    images: Tensor, rows: Tensor, views: Views, policy: ViewPolicy, normalise: Normalise
) -> Tensor:
    """Normalised images of some rows under given views.

    Args:
        images: uint8 ``[N, C, H, W]`` in NHWC memory: all of the split.
        rows: int64 ``[B]``, which images.
        views: of those images (already indexed by ``rows``).
        policy: that drew the views.
        normalise: bytes to floats.

    Returns:
        float32 ``[B, C, H, W]``, channels-last.
    """
    pixels = _vary(images, rows, views, policy.config.padding)
    if views.partner is not None and views.share is not None:
        # The partner shows the same crop and flip as the image it is mixed into, so that its view, too, is replayable.
        other = _vary(images, views.partner, views, policy.config.padding)
        if views.box is None:
            share = views.share.view(-1, 1, 1, 1)
            pixels = pixels.float() * share + other.float() * (1 - share)
        else:
            pixels = torch.where(
                _inside(views.box, pixels.shape[1], pixels.shape[2]), other, pixels
            )
    return normalise(pixels)


def _vary(images: Tensor, rows: Tensor, views: Views, padding: int) -> Tensor:
    pixels = images.permute(0, 2, 3, 1).index_select(0, rows)
    if views.top is not None and views.left is not None:
        pixels = crop(pixels, views.top, views.left, padding)
    if views.flip is not None:
        pixels = mirror(pixels, views.flip)
    if views.operations is not None and views.strengths is not None:
        pixels = photometric.apply(pixels, views.operations, views.strengths)
    return pixels


def crop(pixels: Tensor, top: Tensor, left: Tensor, padding: int) -> Tensor:
    """Pad with zeros and crop back to size, each image at its own offset.

    Args:
        pixels: uint8 ``[B, H, W, C]``.
        top, left: int64 ``[B]``, 0 to 2 * padding.
        padding: pixels of zeros on each side.
    """
    batch, height, width, channels = pixels.shape
    padded = pixels.new_zeros(batch, height + 2 * padding, width + 2 * padding, channels)
    padded[:, padding : padding + height, padding : padding + width] = pixels
    y = top[:, None] + torch.arange(height, device=pixels.device)
    image = torch.arange(batch, device=pixels.device)[:, None]
    if pixels.device.type != "cpu":
        x = left[:, None] + torch.arange(width, device=pixels.device)
        return padded[image[..., None], y[..., None], x[:, None, :]]
    # On the CPU torch gathers byte by byte (15 ms for 512 images). A cropped row is one run of width * channels bytes:
    # read the block as overlapping items of that size and let numpy copy whole items (under 1 ms).
    starts = ((image * padded.shape[1] + y) * padded.shape[2] + left[:, None]) * channels
    flat, run = padded.numpy().reshape(-1), width * channels
    items = np.ndarray((flat.size - run + 1,), dtype=f"V{run}", buffer=flat, strides=(1,))
    copied = items[starts.numpy()].view(np.uint8)
    return torch.from_numpy(copied).view(batch, height, width, channels)


def mirror(pixels: Tensor, flip: Tensor) -> Tensor:
    """Mirror the images marked in ``flip`` (bool ``[B]``) of uint8 ``[B, H, W, C]``."""
    if pixels.device.type != "cpu":
        return torch.where(flip.view(-1, 1, 1, 1), pixels.flip(2), pixels)
    # A pixel is one item of C bytes: half the images are reversed item by item, the rest is not touched.
    array = pixels.numpy().view(f"V{pixels.shape[3]}")[..., 0]
    chosen = np.flatnonzero(flip.numpy())
    array[chosen] = array[chosen][:, :, ::-1]
    return pixels


def _inside(box: Tensor, height: int, width: int) -> Tensor:
    """bool ``[B, H, W, 1]``: pixels inside each image's box."""
    y = torch.arange(height, device=box.device).view(1, -1, 1)
    x = torch.arange(width, device=box.device).view(1, 1, -1)
    top, left, bottom, right = (box[:, i].view(-1, 1, 1) for i in range(4))
    return ((y >= top) & (y < bottom) & (x >= left) & (x < right))[..., None]
