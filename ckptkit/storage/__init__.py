"""The disk: the operations that read and change files, so that tests can inject faults."""
