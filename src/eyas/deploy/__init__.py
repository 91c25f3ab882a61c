"""What ships: export targets, parity with the trained network, latency."""
