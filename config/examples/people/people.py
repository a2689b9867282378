#!/usr/bin/env python3
"""Finds people in one picture with OpenCV's built-in HOG detector.

Writes the picture with a box around each person, and one JSON file that says where they are.
"""
import json
import os
import pathlib

import cv2

cv2.setNumThreads(1)  # one run, one core: parallelism comes from many runs

source = pathlib.Path(os.environ["INPUT_FILE_PATH"])
target = pathlib.Path(os.environ["TMP_OUTPUT_DIR"])

picture = cv2.imread(str(source))
if picture is None:
    raise SystemExit(f"{source.name} is not a picture")

detector = cv2.HOGDescriptor()
detector.setSVMDetector(cv2.HOGDescriptor_getDefaultPeopleDetector())
boxes, weights = detector.detectMultiScale(picture, winStride=(8, 8), padding=(8, 8), scale=1.05)

people = []
for (x, y, width, height), weight in zip(boxes, weights):
    people.append({"x": int(x), "y": int(y), "width": int(width), "height": int(height), "weight": float(weight)})
    cv2.rectangle(picture, (int(x), int(y)), (int(x + width), int(y + height)), (0, 255, 0), 2)

cv2.imwrite(str(target / source.name), picture)
(target / f"{source.stem}.json").write_text(json.dumps({"frame": source.name, "people": people}) + "\n")
print(f"{source.name}: {len(people)} people")
