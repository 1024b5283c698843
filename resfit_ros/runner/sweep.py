"""Jobs in parallel processes: what fails takes nothing else with it, Ctrl-C stops them all."""

import collections
import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from resfit_ros.bringup import RunConfig
from resfit_ros.core.errors import ConfigError, ResfitError
from resfit_ros.runner.job import Job, Result

# Read by OpenMP, MKL and OpenBLAS when they are loaded: a process per core, a thread per process.
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
PROGRESS, DONE, FAILED = "progress", "done", "failed"
FAILURE = "failure.txt"  # traceback of what should not have happened
STOP_S = 5.0

# on_progress(job, done, total, words)
JobProgress = Callable[[Job, float, float, str], None]


class JobsFailed(ResfitError):
    """Some jobs failed. `results` has those of the others, `failures` the reason per job."""

    def __init__(self, results: list[Result], failures: list[tuple[Job, str]]) -> None:
        self.results, self.failures = results, failures
        reasons = "\n".join(f"  {job.name}, seed {job.seed}: {why}" for job, why in failures)
        super().__init__(
            f"{len(failures)} of {len(failures) + len(results)} jobs failed:\n{reasons}\n"
            "the others' results are kept; the same command runs only what is missing"
        )


def run_jobs(
    jobs: Sequence[Job],
    config: RunConfig,
    parallel: int,
    on_progress: JobProgress = lambda job, done, total, words: None,
) -> list[Result]:
    """Results in the order of `jobs`, at most `parallel` at a time; finished ones are read, not run.

    Every job is checked before anything is written. Raises ConfigError or DataError then, and
    JobsFailed at the end, once every other job has been run.
    """
    results = _check(jobs, config, parallel)
    failures: list[tuple[Job, str]] = []
    waiting = collections.deque(i for i in range(len(jobs)) if i not in results)
    running: dict[Connection, _Child] = {}
    try:
        while waiting or running:
            while waiting and len(running) < parallel:
                child = _Child.start(waiting.popleft(), jobs, config)
                running[child.connection] = child
            for connection in wait(list(running)):
                child = running[connection]
                if not child.hear(on_progress):
                    continue
                del running[connection]
                if child.result is not None:
                    results[child.index] = child.result
                else:
                    failures.append((child.job, child.reason))
    finally:
        for child in running.values():
            child.stop()
    ordered = [results[i] for i in sorted(results)]
    if failures:
        raise JobsFailed(ordered, failures)
    return ordered


def _check(jobs: Sequence[Job], config: RunConfig, parallel: int) -> dict[int, Result]:
    """Results that are there already, by the index of their job."""
    from resfit_ros.runner.sim_train import check_job  # torch: not while a child starts

    if parallel < 1:
        raise ConfigError(f"at least 1 job at a time, got {parallel}")
    seen: set[str] = set()
    for job in jobs:
        place = str(job.out_dir.absolute())
        if place in seen:
            raise ConfigError(f"{job.out_dir}: two jobs would write there; give each a directory")
        seen.add(place)
    found = {i: check_job(job, config) for i, job in enumerate(jobs)}
    return {i: result for i, result in found.items() if result is not None}


@dataclass
class _Child:
    """A process that runs one job, and what it has said."""

    index: int
    job: Job
    process: BaseProcess
    connection: Connection
    result: Result | None = None
    reason: str = ""

    @classmethod
    def start(cls, index: int, jobs: Sequence[Job], config: RunConfig) -> "_Child":
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe(duplex=False)
        arguments = (theirs, jobs[index], config)
        process = context.Process(target=_run_in_child, args=arguments, daemon=True)
        with _environment(dict.fromkeys(THREADS, "1")):
            process.start()
        theirs.close()  # else its end would not be noticed
        return cls(index, jobs[index], process, ours)

    def hear(self, on_progress: JobProgress) -> bool:
        """Takes one message; True when there is no other to come."""
        try:
            kind, *values = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            self.connection.close()
            self.reason = self.reason or _way_of_death(self.process.exitcode)
            return True
        if kind == PROGRESS:
            on_progress(self.job, *values)
        elif kind == DONE:
            (self.result,) = values
        else:
            (self.reason,) = values
        return False

    def stop(self) -> None:
        """Ends the process, whatever it does."""
        self.process.terminate()
        self.process.join(STOP_S)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()


def _way_of_death(exit_code: int | None) -> str:
    if exit_code is not None and exit_code < 0:
        name = signal.Signals(-exit_code).name
        hint = "; is there enough memory? try fewer jobs at a time" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{hint}"
    return f"its process ended with status {exit_code} and no result"


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Variables that a process started meanwhile inherits."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _run_in_child(connection: Connection, job: Job, config: RunConfig) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends this one
    try:
        from resfit_ros.runner.sim_train import train_seed

        result = train_seed(job, config, lambda *values: connection.send((PROGRESS, *values)))
        connection.send((DONE, result))
    except BrokenPipeError:
        return  # the parent is gone
    except (ResfitError, OSError) as error:
        connection.send((FAILED, str(error)))
    except Exception as error:
        # A process has nobody to raise to: the parent tells, and goes on with the other jobs.
        connection.send((FAILED, _explain(error, job)))


def _explain(error: Exception, job: Job) -> str:
    words = f"{type(error).__name__}: {error}"
    try:
        (job.out_dir / FAILURE).write_text(traceback.format_exc())
    except OSError:
        return words
    return f"{words}; details in {job.out_dir / FAILURE}"
