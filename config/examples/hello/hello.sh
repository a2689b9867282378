#!/bin/sh
# The event's body, or the file that started the function, is the name. What is printed is the result of a synchronous
# call and the log of every other run; what is written to $TMP_OUTPUT_DIR is the output.
set -eu
name=$(cat "$INPUT_FILE_PATH")
echo "Hello, ${name:-world}!" | tee "$TMP_OUTPUT_DIR/$(basename "$INPUT_FILE_PATH").greeting"
