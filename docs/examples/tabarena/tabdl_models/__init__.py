"""The networks of tabdl in the form of a folder of ``tabarena/models``."""
