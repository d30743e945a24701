"""Cost of architectures: MACs, parameters, receptive field, latency and memory."""
