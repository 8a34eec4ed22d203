"""Why did distillation not help here? Evidence from a finished run, findings with the setting to change, text and a page."""

from understudy.diagnose.diagnosis import Diagnosis, diagnose_run, write_diagnosis

__all__ = ["Diagnosis", "diagnose_run", "write_diagnosis"]
