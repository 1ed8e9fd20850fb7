"""The released weights of the network ``fvd``."""
