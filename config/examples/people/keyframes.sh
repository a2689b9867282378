#!/bin/sh
# Cuts $FRAMES frames, evenly spread over the video, into $TMP_OUTPUT_DIR. More frames than the video has: it repeats.
set -eu
frames=${FRAMES:-20}
name=$(basename "$INPUT_FILE_PATH")
name=${name%.*}

total=$(ffprobe -v error -select_streams v:0 -count_packets -show_entries stream=nb_read_packets -of csv=p=0 \
        "$INPUT_FILE_PATH" | tr -dc 0-9)
step=$((total / frames))
[ "$step" -ge 1 ] || step=1

ffmpeg -nostdin -v error -threads 1 -stream_loop -1 -i "$INPUT_FILE_PATH" \
       -vf "select=not(mod(n\\,$step))" -fps_mode passthrough -frames:v "$frames" -q:v 3 \
       "$TMP_OUTPUT_DIR/$name-%05d.jpg"
echo "$name: $frames of $total frames"
