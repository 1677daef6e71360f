"""An SMTP server over the wire: the strict reference server, the sink, and their faults."""
