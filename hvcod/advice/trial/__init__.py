"""The branch test: runs that go on from one saved state, with and without a second group."""
