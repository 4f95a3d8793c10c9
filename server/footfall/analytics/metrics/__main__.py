"""`python -m footfall.analytics.metrics > docs/metrics.md` writes the reference anew."""

from footfall.analytics.metrics.reference import reference

print(reference(), end="")  # noqa: T201  # this is its output
