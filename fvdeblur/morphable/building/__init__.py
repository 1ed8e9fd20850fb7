"""Building a morphable model from photographs and clips with dense meshes beside them."""

from fvdeblur.morphable.building.builder import Report, build, write
from fvdeblur.morphable.building.material import Labelled, read_material

__all__ = ["Labelled", "Report", "build", "read_material", "write"]
