"""What `footfall up` runs as processes of their own: Valkey, the gRPC server, and Envoy."""
