"""The generated news world: what the demo, the adapter `news` and the benchmarks are made of."""
