"""Where custom queries run: a process of their own, with one website's events and nothing else."""

from footfall.events.sandbox.sandbox import EventSandbox

__all__ = ["EventSandbox"]
