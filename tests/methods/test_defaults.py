"""The options of every method: their defaults, and the limits of each where its docstring says they
are."""

import pytest

from understudy.errors import UnderstudyError
from understudy.methods import METHODS, method_config

FOUNDING = {"temperature": 4.0, "alpha": 0.0, "ce_weight": None, "curriculum": None}
STAGES = {"stages": (), "stage_weights": ()}

DEFAULTS: dict[str, dict] = {
    "ce": {},
    "kd": {"alpha": 0.7},
    "lskd": {"temperature": 2.0, "ce_weight": 0.1, "weight": 9.0},
    "dkd": {
        "ce_weight": 1.0,
        "weight": 1.0,
        "tckd_weight": 1.0,
        "nckd_weight": 8.0,
        "warmup_epochs": 20,
    },
    "dist": {"ce_weight": 1.0, "weight": 2.0, "beta": 1.0, "gamma": 1.0},
    "fitnets": STAGES | {"weight": 100.0, "stages": (-2,)},
    "at": STAGES | {"weight": 1000.0},
    "sp": STAGES | {"weight": 3000.0, "stages": (-1,)},
    "rkd": {"weight": 1.0, "distance_weight": 25.0, "angle_weight": 50.0},
    "cc": {"weight": 100.0, "gamma": 0.4, "order": 2},
    "pkt": {"weight": 30000.0},
    "vid": STAGES | {"weight": 1.0, "initial_variance": 5.0},
    "nst": STAGES | {"weight": 50.0, "stages": (-1,)},
    "ft": STAGES | {"weight": 200.0, "rate": 0.5, "paraphraser_epochs": None, "stages": (-1,)},
    "reviewkd": STAGES | {"weight": 1.0, "warmup_epochs": 20, "pooled": True},
    "simkd": {"ce_weight": 0.0, "weight": 1.0, "reduction": 2},
    "crd": {
        "weight": 0.8,
        "negatives": 16384,
        "nce_temperature": 0.07,
        "momentum": 0.5,
        "dimension": 128,
    },
    "adversarial": {
        "alpha": 0.7,
        "weight": 1.0,
        "reversal": 0.1,
        "compare": "logits",
        "hidden": 128,
    },
    "dml": {"temperature": 1.0, "weight": 1.0, "peers": 2},
    "born_again": {"temperature": 1.0, "alpha": 0.5, "generations": 2},
}


@pytest.mark.parametrize("name", METHODS)
def test_the_defaults_stay_what_they_are(name: str):
    config = method_config({"name": name})
    found = {key: value for key, value in vars(config).items() if key != "name"}
    assert found == FOUNDING | DEFAULTS[name]


LIMITS = [
    # name, option, the last value that is taken, the first that is not
    ("dkd", "warmup_epochs", 0, -1),
    ("dist", "beta", 0.0, -1e-6),
    ("dist", "gamma", 0.0, -1e-6),
    ("dist", "beta", 1e6, float("inf")),
    ("dist", "gamma", 1e6, float("inf")),
    ("cc", "gamma", 1e-6, 0.0),
    ("cc", "order", 1, 0),
    ("vid", "initial_variance", 2e-5, 1e-5),
    ("ft", "rate", 1e-6, 0.0),
    ("ft", "paraphraser_epochs", 1, 0),
    ("simkd", "reduction", 1, 0),
    ("crd", "nce_temperature", 0.02, 0.0199),
    ("crd", "momentum", 0.0, -1e-6),
    ("crd", "momentum", 0.999, 1.0),
    ("crd", "negatives", 1, 0),
    ("crd", "dimension", 1, 0),
    ("adversarial", "reversal", 0.0, -1e-6),
    ("adversarial", "hidden", 1, 0),
    ("dml", "peers", 2, 1),
    ("born_again", "generations", 1, 0),
]


@pytest.mark.parametrize(("name", "option", "taken", "refused"), LIMITS, ids=lambda part: str(part))
def test_an_option_is_taken_up_to_its_limit_and_no_further(
    name: str, option: str, taken: float, refused: float
):
    assert getattr(method_config({"name": name, option: taken}), option) == taken
    with pytest.raises(UnderstudyError, match=rf"method\.{option}"):
        method_config({"name": name, option: refused})


@pytest.mark.parametrize("name", [name for name in METHODS if "weight" in DEFAULTS[name]])
def test_own_checks_of_a_method_do_not_replace_the_common_ones(name: str):
    for option, value in (("weight", -1.0), ("temperature", 0.0), ("alpha", 1.5)):
        with pytest.raises(UnderstudyError, match=rf"method\.{option}"):
            method_config({"name": name, option: value})
