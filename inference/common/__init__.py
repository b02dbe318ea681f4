"""The ground floor: errors, paths, the machine, files, text, intervals, and the client of the Hub.

Imports nothing of the other folders.
"""
