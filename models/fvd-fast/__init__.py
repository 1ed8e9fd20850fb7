"""The released weights of the network ``fvd`` in its fast form."""
