#!/usr/bin/env python3
"""Runs the grid of a plan over the workers of a Dask cluster, and gathers the file of one run.

    python tw_dask.py docs/experiments/loss.toml --out loss.jsonl --workers 4
    python tw_dask.py docs/experiments/loss.toml --out loss.jsonl --scheduler tcp://10.0.0.1:8786

Every worker runs `tw-lab run PLAN --shard i/n`, so it needs the command, the plan, and what the plan names,
at the same paths. Results come back over Dask and are appended to the output as they arrive; what is in
the output already is not measured again. At the end `tw-lab run` checks and sorts it: the rows are those of
a run on one machine, byte for byte, if the machines are of one kind.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

from distributed import Client, LocalCluster, as_completed


def timings_of(path):
    """The file of times beside a file of results."""
    return path.with_suffix(".timings.jsonl")


def run_lab(command):
    """Runs `tw-lab`; its message is the error's where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def measure(tw_lab, plan, shard, known, cache, threads):
    """Measures a shard on a worker, but for the cells in `known`, and returns new rows and times."""
    with tempfile.TemporaryDirectory(prefix="tw-shard-") as folder:
        out = pathlib.Path(folder, "shard.jsonl")
        out.write_text(known, encoding="utf-8")
        command = [tw_lab, "run", plan, "--out", str(out), "--shard", shard, "--threads", str(threads)]
        if cache is not None:
            command += ["--cache", cache]
        run_lab(command)
        had = set(known.splitlines())
        rows = out.read_text(encoding="utf-8").splitlines()
        new = "".join(line + "\n" for line in rows if line not in had)
        return new, timings_of(out).read_text(encoding="utf-8")


def gather(client, plan, out, *, tw_lab="tw-lab", shards=None, cache=None, threads=1):
    """Runs the plan over the workers of `client` and leaves its results in `out`.

    `shards` parts are handed out, by default four for each thread of a worker, so that workers that are
    faster do more. What arrives is kept even if a shard fails; the first failure is raised at the end.
    """
    plan, out = pathlib.Path(plan).resolve(), pathlib.Path(out)
    slots = sum(client.nthreads().values()) or 1
    cells = len(run_lab([tw_lab, "run", str(plan), "--list"]).splitlines())
    shards = min(shards or 4 * slots, max(cells, 1))
    known = out.read_text(encoding="utf-8") if out.exists() else ""
    # A line that an interruption cut off is measured again.
    known = known[: known.rfind("\n") + 1]
    out.write_text(known, encoding="utf-8")
    [shared] = client.scatter([known], broadcast=True)
    names = [f"{part}/{shards}" for part in range(1, shards + 1)]
    tasks = [
        client.submit(measure, tw_lab, str(plan), name, shared, cache, threads, pure=False, retries=1)
        for name in names
    ]
    failure = None
    for task in as_completed(tasks):
        try:
            rows, timings = task.result()
        except Exception as error:  # noqa: BLE001: whatever a worker fails with
            failure = failure or error
            continue
        for path, text in ((out, rows), (timings_of(out), timings)):
            with path.open("a", encoding="utf-8") as file:
                file.write(text)
    if failure is not None:
        raise failure
    return run_lab([tw_lab, "run", str(plan), "--out", str(out)])


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plan", help="plan file")
    parser.add_argument("--out", required=True, help="where the results go, JSON lines")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--scheduler", help="address of a Dask scheduler")
    where.add_argument("--workers", type=int, default=2, help="workers on this machine [default: 2]")
    parser.add_argument("--tw-lab", default="tw-lab", help="the command on the workers [default: tw-lab]")
    parser.add_argument("--shards", type=int, help="parts of the grid [default: 4 for each thread]")
    parser.add_argument("--cache", help="folder of tensors on the workers, shared by all shards")
    parser.add_argument("--threads", type=int, default=1, help="threads of a shard [default: 1]")
    options = parser.parse_args(arguments)
    cluster = options.scheduler or LocalCluster(
        n_workers=options.workers, threads_per_worker=1, dashboard_address=None
    )
    with Client(cluster) as client:
        report = gather(
            client,
            options.plan,
            options.out,
            tw_lab=options.tw_lab,
            shards=options.shards,
            cache=options.cache,
            threads=options.threads,
        )
    print(report, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
