"""Student-oriented teacher training for knowledge distillation (SoTeacher), reproduced.

Importing this package, or its study layer, never imports torch: the workflow reads studies on
machines that have none.
"""

__version__ = "0.1.0"
