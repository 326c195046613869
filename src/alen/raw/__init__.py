"""RAW files: a path, bytes or a file becomes a `RawImage`, or a typed error. LibRaw decodes, through rawpy.

The levels, colors and dates it leaves out are read from the file's own TIFF directories (`alen.dng`). LibRaw is made to
show a picture whenever it can, so a damaged file may "succeed" with zeros, and 24 MB of random bytes pass for a camera
that wrote no header. Therefore a file is checked before (is it a container we know, do its picture data lie inside it)
and after decoding (are there unwritten areas, do the values fit the levels).

`image` holds the values that come out, `containers` knows kinds of files, `metadata` camera and exposure, `colors`
white balance and matrix, `corrections` the opcodes of DNGs; `reading` opens files with LibRaw and puts it together.
"""

from alen.raw.image import Gains, Matrix, RawHeader, RawImage
from alen.raw.reading import read_header, read_raw, render_reference

__all__ = ["Gains", "Matrix", "RawHeader", "RawImage", "read_header", "read_raw", "render_reference"]
