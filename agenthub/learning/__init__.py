"""How a role learns: from others by the bus, from its own work by what it finds, and what becomes of it."""
