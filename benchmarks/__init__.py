"""ptrain against its peers: run by scripts/benchmark, each program in a process of its own."""
