"""The way in: validate, enrich, commit in groups, acknowledge."""
