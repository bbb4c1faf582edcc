"""The method: losses, burn-in, teachers, and the Codistiller that a training loop calls."""
