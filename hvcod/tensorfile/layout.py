"""How a file is laid out, for those who need no torch: the process that reads HDF5 structures."""

from h5py import h5t

USER_BLOCK = 512
"""Bytes in front of the HDF5 image."""

ALIGNMENT = 64
"""Every tensor's values begin at a multiple of it."""

LONGEST_TEXT = 32 * 1024
"""Bytes of a text attribute, at most."""

Attribute = str | int | float
"""What a root attribute can be."""

FILE_TYPES: dict[str, h5t.TypeID] = {
    "float16": h5t.IEEE_F16LE,
    "float32": h5t.IEEE_F32LE,
    "float64": h5t.IEEE_F64LE,
    "int8": h5t.STD_I8LE,
    "int16": h5t.STD_I16LE,
    "int32": h5t.STD_I32LE,
    "int64": h5t.STD_I64LE,
    "uint8": h5t.STD_U8LE,
    "uint16": h5t.STD_U16LE,
    "uint32": h5t.STD_U32LE,
    "uint64": h5t.STD_U64LE,
}
"""The HDF5 types, little-endian on every machine, in which values are stored, by torch's names."""
