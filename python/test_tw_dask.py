"""Tests the driver with a local cluster. TW_LAB names the command: TW_LAB=target/release/tw-lab."""

import os
import pathlib
import subprocess
import tempfile
import unittest

from distributed import Client, LocalCluster

import tw_dask

TW_LAB = os.environ.get("TW_LAB", "tw-lab")
PLAN = """\
title = "A small grid"
limit = 30
[loss]
maps = ["elements", "channels"]
missing = [0.1, 0.3]
fills = ["zero", "hybrid", "spatial"]
"""


class Gathering(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.plan = self.folder / "plan.toml"
        self.plan.write_text(PLAN, encoding="utf-8")
        self.whole = self.folder / "whole.jsonl"
        subprocess.run([TW_LAB, "run", self.plan, "--out", self.whole], check=True, capture_output=True)
        cluster = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
        self.client = Client(cluster)
        self.addCleanup(cluster.close)
        self.addCleanup(self.client.close)

    def gather(self, out, plan=None, **options):
        return tw_dask.gather(self.client, plan or self.plan, out, tw_lab=TW_LAB, **options)

    def test_shards_make_the_file_of_one_run(self):
        out = self.folder / "gathered.jsonl"
        report = self.gather(out, shards=5, cache=str(self.folder / "cache"))
        self.assertIn("12 of 12 cells (0 of 12 measured now)", report)
        self.assertEqual(out.read_bytes(), self.whole.read_bytes())
        timings = tw_dask.timings_of(out).read_text().splitlines()
        self.assertEqual(len(timings), 12)

    def test_what_is_there_is_not_measured_again(self):
        out = self.folder / "resumed.jsonl"
        lines = self.whole.read_text().splitlines(keepends=True)
        # Half of the rows, and one that was cut off.
        out.write_text("".join(lines[:7]) + lines[7][:20], encoding="utf-8")
        self.gather(out, shards=3)
        self.assertEqual(out.read_bytes(), self.whole.read_bytes())
        self.assertEqual(len(tw_dask.timings_of(out).read_text().splitlines()), 6)

    def test_a_failure_is_told(self):
        plan = self.folder / "wrong.toml"
        plan.write_text(PLAN.replace('"spatial"', '"temporal"'), encoding="utf-8")
        with self.assertRaisesRegex(RuntimeError, "temporal"):
            self.gather(self.folder / "wrong.jsonl", plan, shards=2)


if __name__ == "__main__":
    unittest.main()
