"""The losses of the logit methods for K students at once, each with options of its own."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from understudy.config.schedules import Schedule
from understudy.methods import CE, DIST, DKD, KD, LSKD, method_class
from understudy.methods.base import Method, MethodConfig
from understudy.methods.combined import CombinedConfig
from understudy.methods.dist import pearson
from understudy.methods.dkd import dkd_per_image
from understudy.methods.lskd import standardise
from understudy.methods.multi_teacher import MultiTeacher

_LOGIT_METHODS = (CE, KD, LSKD, DKD, DIST)
_OPTIONS = {
    "lskd": ("weight", "temperature"),
    "dkd": ("weight", "temperature", "tckd_weight", "nckd_weight"),
    "dist": ("weight", "temperature", "beta", "gamma"),
}
"""Methods with a term of their own -> the options that it reads."""


def why_no_stacked_loss(method: Method) -> str:
    """Why a method's loss cannot be computed for many students at once; empty where it can."""
    for name, config in _parts(method.config).items():
        if method_class(name) not in _LOGIT_METHODS:
            return f"the method {name} is not one of ce, kd, lskd, dkd and dist"
        if isinstance(method, MultiTeacher):
            return "it listens to several teachers"
        if isinstance(config.temperature, Schedule) or isinstance(config.alpha, Schedule):
            return "its temperature or alpha moves over the epochs"
        if config.curriculum is not None:
            return "its curriculum shows it other images than its neighbours"
    return ""


def _parts(config: MethodConfig) -> dict[str, MethodConfig]:
    return config.parts if isinstance(config, CombinedConfig) else {config.name: config}


def _fixed(value: float | Schedule) -> float:
    assert not isinstance(value, Schedule), "why_no_stacked_loss refuses what moves over the epochs"
    return value


class StackedLosses:
    """Named, weighted losses ``[K, terms]``; 0 where a student does not have the term.

    Args:
        methods: of each student; only their options are read.
        taught: whether each has a teacher.
        device: of the logits.

    Attributes:
        names: of the terms, in the order of the columns.
        has: whether a student has a term, ``[K][terms]``.
    """

    def __init__(
        self, methods: Sequence[Method], taught: Sequence[bool], device: torch.device
    ) -> None:
        self.count, self.device = len(methods), device
        configs = [method.config for method in methods]
        ce = [1 - _fixed(c.alpha) if c.ce_weight is None else c.ce_weight for c in configs]
        kd = [_fixed(c.alpha) if has else 0.0 for c, has in zip(configs, taught, strict=True)]
        self.ce, self.kd = self._vector(ce), self._vector(kd)
        self.smoothing = self._vector([m.label_smoothing for m in methods])
        self.temperature = self._vector([_fixed(c.temperature) for c in configs])
        self.own = {name: _rows_of(name, configs, taught) for name in _OPTIONS}
        self.own = {name: found for name, found in self.own.items() if found}
        self.rows = {
            name: torch.tensor(list(found), device=device) for name, found in self.own.items()
        }
        # Vectors are made here, once: a recorded step may not copy numbers from the host.
        self.options = {
            name: {
                option: self._vector([getattr(c, option) for c in found.values()])
                for option in _OPTIONS[name]
            }
            for name, found in self.own.items()
        }
        self.names = [*(["ce"] if any(ce) else []), *(["kd"] if any(kd) else []), *self.own]
        member = {"ce": [bool(w) for w in ce], "kd": [bool(w) for w in kd]}
        member |= {
            name: [row in found for row in range(self.count)] for name, found in self.own.items()
        }
        self.has = [[member[name][row] for name in self.names] for row in range(self.count)]
        assert all(any(row) for row in self.has), (
            "a student has no loss: alpha, ce_weight and weight are all 0"
        )
        self.warmup = torch.ones(len(self.own.get("dkd", {})), device=device)

    def set_epoch(self, epoch: int) -> None:
        """For the warm-up of dkd."""
        lengths = [getattr(c, "warmup_epochs", 0) for c in self.own.get("dkd", {}).values()]
        shares = [min((epoch + 1) / length, 1.0) if length else 1.0 for length in lengths]
        self.warmup.copy_(self._vector(shares))  # in place: a recorded step reads it

    def __call__(
        self,
        logits: Tensor,
        teacher: Tensor | None,
        labels: Tensor,
        partners: Tensor | None,
        share: Tensor | None,
    ) -> Tensor:
        """``[K, terms]``.

        Args:
            logits, teacher: ``[K, B, C]``, fp32; no teacher where no student has one.
            labels: int64 ``[K, B]``.
            partners, share: int64 and float ``[K, B]``, where images are mixed.
        """
        columns = []
        for name in self.names:
            if name == "ce":
                columns.append(self.ce * self._cross_entropy(logits, labels, partners, share))
                continue
            assert teacher is not None
            if name == "kd":
                columns.append(self.kd * _divergence(logits, teacher, self.temperature))
                continue
            rows = self.rows[name]
            mixed = (
                (None, None) if partners is None or share is None else (partners[rows], share[rows])
            )
            values = getattr(self, f"_{name}")(logits[rows], teacher[rows], labels[rows], *mixed)
            columns.append(torch.zeros(self.count, device=self.device).index_copy(0, rows, values))
        return torch.stack(columns, 1)

    def _cross_entropy(
        self, logits: Tensor, labels: Tensor, partners: Tensor | None, share: Tensor | None
    ) -> Tensor:
        log_p = logits.log_softmax(2)

        def against(target: Tensor) -> Tensor:
            own = -log_p.gather(2, target[..., None])[..., 0]
            return own + self.smoothing[:, None] * (-log_p.mean(2) - own)

        loss = against(labels)
        if partners is not None and share is not None:
            loss = share * loss + (1 - share) * against(partners)
        return loss.mean(1)

    def _lskd(
        self,
        logits: Tensor,
        teacher: Tensor,
        labels: Tensor,
        partners: Tensor | None,
        share: Tensor | None,
    ) -> Tensor:
        options = self.options["lskd"]
        student, target = (standardise(z.flatten(0, 1)).view_as(z) for z in (logits, teacher))
        return options["weight"] * _divergence(student, target, options["temperature"])

    def _dkd(
        self,
        logits: Tensor,
        teacher: Tensor,
        labels: Tensor,
        partners: Tensor | None,
        share: Tensor | None,
    ) -> Tensor:
        options = self.options["dkd"]
        temperature = options["temperature"]
        # A weight for each image where the function has one for all: it only multiplies by it.
        weights: list[Any] = [
            options[name].repeat_interleave(labels.shape[1])
            for name in ("tckd_weight", "nckd_weight")
        ]
        student, target = (
            (z / temperature[:, None, None]).flatten(0, 1) for z in (logits, teacher)
        )
        loss = dkd_per_image(student, target, labels.flatten(), 1.0, *weights).view_as(labels)
        if partners is not None and share is not None:
            other = dkd_per_image(student, target, partners.flatten(), 1.0, *weights).view_as(
                labels
            )
            loss = share * loss + (1 - share) * other
        return options["weight"] * self.warmup * temperature**2 * loss.mean(1)

    def _dist(
        self,
        logits: Tensor,
        teacher: Tensor,
        labels: Tensor,
        partners: Tensor | None,
        share: Tensor | None,
    ) -> Tensor:
        options = self.options["dist"]
        temperature = options["temperature"]
        student, target = ((z / temperature[:, None, None]).softmax(2) for z in (logits, teacher))
        inter = 1 - _correlation(student, target)
        intra = 1 - _correlation(student.transpose(1, 2), target.transpose(1, 2))
        return (
            options["weight"]
            * temperature**2
            * (options["beta"] * inter + options["gamma"] * intra)
        )

    def _vector(self, values: Sequence[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self.device)


def _rows_of(
    name: str, configs: Sequence[MethodConfig], taught: Sequence[bool]
) -> dict[int, MethodConfig]:
    """The students that have a method's own term, by row, with its options."""
    return {
        row: _parts(c)[name] for row, c in enumerate(configs) if taught[row] and name in _parts(c)
    }


def _divergence(student: Tensor, teacher: Tensor, temperature: Tensor) -> Tensor:
    """``T^2 * KL``, ``[K]``, of logits ``[K, B, C]`` at temperatures ``[K]``."""
    ours = (student / temperature[:, None, None]).log_softmax(2)
    theirs = (teacher / temperature[:, None, None]).log_softmax(2)
    return temperature**2 * F.kl_div(ours, theirs, reduction="none", log_target=True).sum(2).mean(1)


def _correlation(first: Tensor, second: Tensor) -> Tensor:
    """Mean Pearson correlation ``[K]`` of the last dimension of two ``[K, N, M]`` tensors."""
    return pearson(first.flatten(0, 1), second.flatten(0, 1)).view(first.shape[:2]).mean(1)
