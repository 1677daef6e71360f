"""What messages are made of: contents rendered once, into which each message's identifier is put."""
