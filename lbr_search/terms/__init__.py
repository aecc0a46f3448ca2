"""Text -> terms of the lexical leg: plain English, and what each domain adds to it."""
