"""The student as a web page: all in a folder, or in one file."""
