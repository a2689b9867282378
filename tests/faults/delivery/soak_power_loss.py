"""Power loss again and again on one data directory."""
import power_loss


class PowerLoss(power_loss.TestCase):
    def test_many_times(self):
        self.check_confirmed(rounds=40)


if __name__ == "__main__":
    power_loss.main()
