"""Where custom queries run: a process of their own, with one website's events and nothing else."""

from footfall.events.sandbox.sandbox import EventSandbox, SandboxLimits, SandboxStats

__all__ = ["EventSandbox", "SandboxLimits", "SandboxStats"]
