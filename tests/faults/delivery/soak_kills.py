"""The kill loop for longer, in both executors."""
import kill_loop


class Kills(kill_loop.TestCase):
    def test_processes(self):
        self.kill_while_events_pass(inputs=2000, kills=100, executor="process")

    def test_containers(self):
        self.kill_while_events_pass(inputs=700, kills=100, executor="container")


if __name__ == "__main__":
    kill_loop.main()
