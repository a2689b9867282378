"""The main job, config/examples/people, on the real video: a file is dropped, its frames start the detector."""
import json
import pathlib
import shutil
import subprocess

import harness

FRAMES = 3
SIZE = 768, 576  # of the video's pictures
JPEG = b"\xff\xd8\xff"


class People(harness.TestCase):
    def setUp(self):
        super().setUp()
        self.require_packages("demo")
        self.video = self.folder / "vtest.avi"
        subprocess.run([harness.REPOSITORY / "scripts" / "fetch_demo_video", self.video], stdin=subprocess.DEVNULL,
                       check=True)

    def definition(self, executor):
        """The example's, with fewer frames and another executor."""
        folder = self.folder / "example"
        shutil.copytree(harness.EXAMPLES / "people", folder)
        file = folder / "functions.yaml"
        text = file.read_text()
        for before, after, times in (("FRAMES: 20\n", f"FRAMES: {FRAMES}\n", 1),
                                     ("    image: host\n", f"    image: host\n    executor: {executor}\n", 2)):
            self.assertEqual(text.count(before), times, before)
            text = text.replace(before, after)
        file.write_text(text)
        return file

    def run_chain(self, executor):
        server = self.start_server()
        server.cli("apply", str(self.definition(executor)))
        self.assertEqual([function["executor"] for function in server.ask("ls")["functions"]], [executor] * 2)
        shutil.copy(self.video, server.bucket("videos") / "vtest.avi")
        server.wait_idle()

        stems = [f"vtest-{number:05}" for number in range(1, FRAMES + 1)]
        self.assertEqual(server.names("frames"), {f"{stem}.jpg".encode() for stem in stems})
        self.assertEqual(server.names("people"),
                         {f"{stem}{end}".encode() for stem in stems for end in (".jpg", ".json")})
        self.assertGreater(sum(self.look_at(server, stem) for stem in stems), 0)

        first, = server.runs("keyframes")
        self.assertEqual(first["input"]["key"], "vtest.avi")
        detections = server.runs("people")
        self.assertEqual(sorted(run["input"]["key"] for run in detections), [f"{stem}.jpg" for stem in stems])
        for run in [first, *detections]:
            self.assert_recorded(server, run)

        self.assertEqual([(run["cause"], run["hops"]) for run in detections], [(first["run_id"], 1)] * FRAMES)

        told = server.cli("why", first["run_id"]).stdout.decode().splitlines()
        self.assertEqual(len(told), 1 + FRAMES, told)
        self.assertIn("keyframes succeeded", told[0])
        self.assertIn("videos/vtest.avi", told[0])
        for run in detections:
            stem = pathlib.PurePath(run["input"]["key"]).stem
            line, = [line for line in told[1:] if run["run_id"] in line]
            self.assertRegex(line, rf"people succeeded .*frames/{stem}\.jpg -> .*people/{stem}\.json")

    def look_at(self, server, stem):
        """How many people were found; their boxes are in the picture."""
        found = json.loads((server.bucket("people") / f"{stem}.json").read_text())
        self.assertEqual(found["frame"], f"{stem}.jpg")
        for box in found["people"]:
            self.assertGreater(min(box["width"], box["height"]), 0)
            self.assertLess(box["x"], SIZE[0])
            self.assertLess(box["y"], SIZE[1])
        picture = (server.bucket("people") / f"{stem}.jpg").read_bytes()
        self.assertTrue(picture.startswith(JPEG))
        self.assertNotEqual(picture, (server.bucket("frames") / f"{stem}.jpg").read_bytes())
        return len(found["people"])

    def assert_recorded(self, server, run):
        record = server.ask("runs", run["run_id"])
        self.assertEqual((record["outcome"], record["failures"]), ("succeeded", 0))
        self.assertEqual([attempt["outcome"] for attempt in record["attempts"]], ["succeeded"])
        usage = record["usage"]
        self.assertGreater(usage["wall_us"], 0)
        self.assertGreater(usage["cpu_us"], 0)
        self.assertGreater(usage["memory_peak_bytes"], 1 << 20)
        self.assertTrue(server.cli("logs", run["run_id"]).stdout.startswith(b"vtest"))

    def test_in_containers(self):
        self.run_chain("container")

    def test_as_processes(self):
        self.run_chain("process")


if __name__ == "__main__":
    harness.main()
