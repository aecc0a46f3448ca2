"""Other search engines as their own libraries run them; each a `protocols.PeerSystem`."""
