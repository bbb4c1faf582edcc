"""Tokens: the word pieces, the shards they are kept in, and the stream that training reads."""
