"""`python -m footfall.analytics.queries > docs/queries.md` writes the reference anew."""

from footfall.analytics.queries.reference import reference

print(reference(), end="")  # noqa: T201  # this is its output
