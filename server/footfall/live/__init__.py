"""Live state in Valkey or Redis: what may be lost and rebuilt from events."""
