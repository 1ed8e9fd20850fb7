"""The released weights of the network ``chrysos2017``."""
