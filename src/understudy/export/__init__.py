"""The student on the device: one file per format, all written through one gate.

Importing this loads neither torch nor any runtime.
"""
