"""The gRPC face: decode, call the domain, encode. The only layer that sees gRPC, protobuf and the
stubs.
"""
