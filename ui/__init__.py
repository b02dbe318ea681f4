"""The app's interface, thin: handlers call plain functions and draw what they return.

demo = build(Workbench())
"""

from ui.page import build
from ui.state import Workbench

__all__ = ["Workbench", "build"]
