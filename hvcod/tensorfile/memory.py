"""Memory that libhdf5 reads and writes as if it were a file."""

import os


class MemoryFile:
    """A file over memory of fixed capacity; `end` is its size so far.

    libhdf5 that writes a real file itself can crash the process on a full disk, and the image of
    its own memory driver comes out as a copy. Here the file grows in place and needs no lock.
    The methods are those that h5py asks of a Python file object.
    """

    def __init__(self, memory: memoryview, end: int = 0) -> None:
        self.end = end
        self._memory = memory
        self._position = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Moves the position, counted from the start, from itself or from `end`."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.end}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def read(self, size: int) -> bytes:
        """Up to `size` bytes from the position on."""
        buffer = bytearray(size)
        return bytes(buffer[: self.readinto(memoryview(buffer))])

    def readinto(self, buffer: memoryview) -> int:
        """Fills `buffer` from the position on as far as the file goes; the bytes read."""
        count = max(0, min(len(buffer), self.end - self._position))
        buffer[:count] = self._memory[self._position : self._position + count]
        self._position += count
        return count

    def write(self, data: memoryview) -> int:
        """Writes at the position; raises ValueError beyond the capacity."""
        self._memory[self._position : self._position + len(data)] = data
        self._position += len(data)
        self.end = max(self.end, self._position)
        return len(data)

    def truncate(self, size: int) -> int:
        """Sets `end`; memory that was never written reads as zeroes."""
        self.end = size
        return size

    def flush(self) -> None:
        """Nothing to do: there is no buffer."""
