"""Which package a module belongs to: what it says itself, else what the databases of dpkg, rpm and
apk say, read as data."""
