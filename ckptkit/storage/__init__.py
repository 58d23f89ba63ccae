"""The file system interface: all reads and changes of files, into which tests inject faults."""
