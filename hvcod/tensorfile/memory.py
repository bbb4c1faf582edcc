"""Memory that libhdf5 writes as if it were a file."""

import os


class MemoryFile:
    """A file over memory of fixed capacity; `end` is its size so far.

    When libhdf5 writes a real file, a full disk can crash the process; and the image of its own
    memory driver can only be had as a copy. Here the file grows in place and needs no lock.
    The methods are those that h5py requires of a Python file object.
    """

    def __init__(self, memory: memoryview) -> None:
        self.end = 0
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

    def read(self, size: int) -> memoryview:
        """Up to `size` bytes from the position on: libhdf5 reads its own structures again."""
        end = max(self._position, min(self._position + size, self.end))
        data = self._memory[self._position : end]
        self._position = end
        return data

    def write(self, data: memoryview) -> int:
        """Writes at the position; raises ValueError beyond the capacity."""
        self._memory[self._position : self._position + len(data)] = data
        self._position += len(data)
        self.end = max(self.end, self._position)
        return len(data)

    def truncate(self, size: int) -> int:
        """Sets `end`."""
        self.end = size
        return size

    def flush(self) -> None:
        """Nothing to do: there is no buffer."""
