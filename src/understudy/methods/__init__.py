"""The distillation methods, one file each."""

from understudy.methods.at import at_loss
from understudy.methods.base import Method, MethodConfig, MethodContext
from understudy.methods.cc import cc_loss
from understudy.methods.ce import CE
from understudy.methods.dist import DIST, dist_loss
from understudy.methods.dkd import DKD, dkd_loss
from understudy.methods.kd import KD, kd_loss
from understudy.methods.lskd import LSKD, lskd_loss
from understudy.methods.nst import nst_loss
from understudy.methods.pkt import pkt_loss
from understudy.methods.registry import (
    METHODS,
    build_method,
    describe_methods,
    list_methods,
    method_class,
    method_config,
    needs_of,
)
from understudy.methods.reviewkd import hcl_loss
from understudy.methods.rkd import rkd_loss
from understudy.methods.sp import sp_loss

__all__ = [
    "CE",
    "DIST",
    "DKD",
    "KD",
    "LSKD",
    "METHODS",
    "Method",
    "MethodConfig",
    "MethodContext",
    "at_loss",
    "build_method",
    "cc_loss",
    "describe_methods",
    "dist_loss",
    "dkd_loss",
    "hcl_loss",
    "kd_loss",
    "list_methods",
    "lskd_loss",
    "method_class",
    "method_config",
    "needs_of",
    "nst_loss",
    "pkt_loss",
    "rkd_loss",
    "sp_loss",
]
