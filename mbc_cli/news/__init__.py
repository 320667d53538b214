"""The generated news world: what the demo, the default adapter and the benchmarks are made of."""
