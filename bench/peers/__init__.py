"""The field's peers on the same work, in an environment of their own: agenthub depends on none of them."""
