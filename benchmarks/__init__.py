"""Commands that print the figures quoted in the README and on the model cards."""
