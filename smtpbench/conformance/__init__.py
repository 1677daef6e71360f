"""The conformance runner: catalogue, cases' interface, grading and the pytest plugin."""
