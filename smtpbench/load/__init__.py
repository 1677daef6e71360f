"""The load generator: Locust is the control plane, one asyncio loop thread the data plane."""
