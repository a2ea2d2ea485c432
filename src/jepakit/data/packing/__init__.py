"""Any source written into tar shards that are read quickly, by this program and by others."""

from jepakit.data.packing.folder import PackedFolder, verify
from jepakit.data.packing.packing import Packing

__all__ = ["PackedFolder", "Packing", "verify"]
