"""All benchmarks, one after the other, each in a process of its own.

Example: python -m benchmarks writer rpc
"""

from __future__ import annotations

import argparse
import subprocess
import sys

PARTS = {
    "writer": "The event store's writer against a raw append",
    "rpc": "The gRPC server against a bare echo, a raw append and the raw engine",
    "rest": "REST against gRPC",
    "history": "Overview, charts and pace of five million page views",
    "queries": "Batch queries over two million page views",
    "realtime": "Live state with 100,000 active visitors",
    "limits": "What an allowance adds to a call",
    "memory": "Memory at five million events",
    "metrics": "Metrics of a workspace against the raw engine",
}


def main() -> None:
    """Run the parts named on the command line, or all."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    chosen = parser.parse_args().parts or list(PARTS)
    if unknown := set(chosen) - PARTS.keys():
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    for part in chosen:
        print(f"\n# {PARTS[part]}", flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{part}"], check=True)


if __name__ == "__main__":
    main()
