"""Released weights, one folder a model; installed as ``fvdeblur.models``."""
