"""How a front end speaks to an engine, in this process or elsewhere."""
