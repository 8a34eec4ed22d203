"""Born again: a student of the teacher's architecture, which then teaches the next one.

What it does: each generation is a network like the teacher, with fresh weights, trained as the
teacher was (``teacher.train``) on the base loss ``(1 - alpha) * CE + alpha * T^2 * KL``, with the
previous generation as its teacher. A run trains them one after the other: ``distilled-gen1`` from
the teacher, ..., and the last, which is the arm itself. Each is measured.
When to use it: to make a teacher better at the same size, before a small student learns from it. It
does not compress. Compare it with plain training of the same network: a ``student.model`` like the
teacher's, or ``teacher.per_seed``.
Cost: as many trainings of the teacher's network as there are generations; in a step a K-way softmax
more than plain training, and the previous generation's forward pass once per view (cached) or in
every step (live).
Options: ``generations``, ``temperature``, ``alpha``.
Reference: Furlanello, Lipton, Tschannen, Itti and Anandkumar 2018, Born-Again Neural Networks.
"""

from dataclasses import dataclass

from understudy.config.schedules import Schedule
from understudy.data.views import generator_for
from understudy.methods.base import Method, MethodConfig


@dataclass(frozen=True)
class BornAgainConfig(MethodConfig):
    """Options of born-again training."""

    temperature: float | Schedule = 1.0
    """T: both networks' logits are divided by it in the soft term."""
    alpha: float | Schedule = 0.5
    """Weight of the soft term, in [0, 1]; the cross-entropy gets the rest."""
    generations: int = 2
    """Networks trained one after the other, each by the one before it, the first by the teacher."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.generations < 1:
            raise ValueError(f"method.generations must be at least 1, not {self.generations}")


class BornAgain(Method):
    """The base loss of one generation; the run makes the chain."""

    config_class = BornAgainConfig
    reference = "Furlanello et al. 2018, Born-Again Neural Networks"


def generation_seed(seed: int, generation: int) -> int:
    """Seed of a generation's initial weights: the run's own for 0, another for each one from 1."""
    if generation == 0:
        return seed
    return generator_for("generation", seed, generation).initial_seed()
