"""The conformance cases, installed as `smtpbench.cases`; the catalogue of requirements is beside them."""
