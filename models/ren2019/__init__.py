"""The released weights of the network ``ren2019``."""
