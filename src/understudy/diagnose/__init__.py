"""Why did distillation not help? Evidence from a finished run, findings with settings to change."""

from understudy.diagnose.diagnosis import Diagnosis
from understudy.diagnose.run import diagnose_run, read_diagnosis, write_diagnosis

__all__ = ["Diagnosis", "diagnose_run", "read_diagnosis", "write_diagnosis"]
