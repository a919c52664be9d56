"""The thin trio shell around the pure core: runner, transport, journal, audit log, key and configuration
files.
"""
