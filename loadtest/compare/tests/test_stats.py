import unittest

from compare import stats


class Stats(unittest.TestCase):
    def check_spread(self, values, median, low, high):
        found = stats.spread(values)
        self.assertEqual((found.median, found.low, found.high), (median, low, high), values)
        self.assertEqual((found.least, found.most, found.count), (min(values), max(values), len(values)), values)

    def test_spread(self):
        self.check_spread([7], 7, 7, 7)
        self.check_spread([2, 1], 1.5, 1.25, 1.75)
        self.check_spread([5, 1, 3, 2, 4], 3, 2, 4)
        # One slice that went wrong moves the range, not the median.
        self.check_spread([10, 10, 10, 10, 900], 10, 10, 10)
        with self.assertRaises(ValueError):
            stats.spread([])

    def test_ratios_are_made_within_a_round(self):
        # The machine became twice as slow after the first round: the ratio does not notice.
        ours, nginx, haproxy = [9, 18, 18], [10, 20, 24], [12, 24, 20]
        better = stats.better_of([nginx, haproxy])
        self.assertEqual(better, [10, 20, 20])
        self.assertEqual(stats.ratios(ours, better), [0.9, 0.9, 0.9])
        with self.assertRaises(ValueError):
            stats.ratios([1, 2], [1])

    def test_everybody_comes_once_in_a_round_and_at_every_place(self):
        names = ["a", "b", "c"]
        orders = [stats.order(names, number) for number in range(3)]
        self.assertEqual([sorted(order) for order in orders], [names] * 3)
        self.assertEqual([sorted(place) for place in zip(*orders, strict=True)], [names] * 3)
