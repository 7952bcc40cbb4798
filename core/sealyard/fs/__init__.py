"""Files of people, as both the store and a client of a server read them."""
