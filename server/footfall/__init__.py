"""Footfall: events in, exact live and historical analytics out, over gRPC and REST."""
