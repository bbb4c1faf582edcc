"""Files that are whole and on disk, or not there at all; on network file systems too.

The ground floor: imports nothing heavy, knows nothing of what the files hold.
"""
