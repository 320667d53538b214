"""Speed, one file per kind of work: `python -m benchmarks.speed --help`."""
