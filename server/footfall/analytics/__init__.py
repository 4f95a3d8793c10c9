"""The way out: questions as frozen values, planned and answered without knowing any engine."""
