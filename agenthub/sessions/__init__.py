"""A conversation with a model: the protocol, the tool loop, the journal, the backends."""
