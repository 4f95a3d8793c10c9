"""Metrics of a workspace: a catalogue of questions, and one way to answer them all."""
