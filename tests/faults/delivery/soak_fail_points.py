"""The daemon stands still at every point of an event's path, for longer than its lease or while its launcher dies."""
import fail_points
import harness

# The sweeper's come after a death only, those of retention after a month; this chain publishes nothing on topics.
ELSEWHERE = ("after_sweep", "after_retention", "after_publish_event")
POINTS = [name for name in fail_points.NAMES if not name.startswith(ELSEWHERE)]


class EveryPoint(fail_points.TestCase):
    def test_lease_runs_out_at_every_point(self):
        self.stand_still(POINTS, self.outlast_lease, fail_points.OPTIONS_SHORT_LEASE)

    def test_launcher_dies_at_every_point(self):
        for point in POINTS:
            with self.subTest(point=point):
                self.stand_still([point], self.kill_launcher, name=point)


if __name__ == "__main__":
    harness.main()
