"""Files and objects at a URL: read and written through fsspec, whole copies of runs, leases."""
