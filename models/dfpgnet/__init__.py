"""The released weights of the network ``dfpgnet``."""
