"""Two thousand events go through a chain of two functions while everything is killed: each comes out, once."""
import kill_loop


class Kills(kill_loop.TestCase):
    def test_processes(self):
        self.kill_while_events_pass(inputs=660, kills=30, executor="process")

    def test_containers(self):
        self.kill_while_events_pass(inputs=100, kills=16, executor="container")


if __name__ == "__main__":
    kill_loop.main()
