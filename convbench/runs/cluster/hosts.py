"""Which host may measure which job: groups of hosts with one fingerprint, and the group that measures each ranking.

Timed cases that are compared stay within one group, their home, so that no ranking mixes two kinds of machines. A
situation (cases that differ only in reducer, LSTM input size and variant) gets the group with the least load as its
home. Trials may go anywhere: they are not timed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence

from convbench.core.grouping import grouped
from convbench.core.record import Case, Record
from convbench.core.scales import gib
from convbench.runs.executor import Host, Job
from convbench.runs.user_code import names_own_code

ROOMY = 0.9
"""A host with at least this share of the largest host's memory is assumed to have room for every case."""


def needs_home(job: Job) -> bool:
    """Whether a job must be measured in the home of its ranking: not a trial, nor a job that names its host."""
    return not job.case.trial and not job.host


class Groups:
    """The hosts of a run, grouped by fingerprint. The first one stands for the run."""

    def __init__(self) -> None:
        self.hosts: list[Host] = []
        self._living_hosts: list[Host] = []
        self._host_by_name: dict[str, Host] = {}
        self._homes: dict[Hashable, str] = {}
        self._load: defaultdict[str, float] = defaultdict(float)
        self._bytes_by_case: dict[Case, int] = {}
        self._lacks: dict[tuple[str, str], str] = {}
        self._largest_bytes = 0

    def settle(self, hosts: Iterable[Host]) -> None:
        """Sort the hosts: those with a GPU first, then by the size of their group, then by name."""
        sizes = Counter(host.fingerprint for host in hosts)
        self.hosts.sort(key=lambda host: (not host.device.startswith("cuda"), -sizes[host.fingerprint], host.name))

    def join(self, host: Host) -> None:
        self._living_hosts.append(host)
        self._host_by_name[host.name] = host
        self._largest_bytes = max(self._largest_bytes, host.available_bytes)
        if all(host.name != other.name for other in self.hosts):
            self.hosts.append(host)

    def leave(self, host: Host) -> None:
        """Remove a lost host from the run's hosts, unless it stands for the run or has another worker."""
        self._living_hosts.remove(host)
        if all(other.name != host.name for other in self._living_hosts):
            self.hosts = [self.hosts[0], *(other for other in self.hosts[1:] if other.name != host.name)]

    def know(self, records: Iterable[Record]) -> None:
        """Let situations stay in the group that measured them in an earlier run."""
        for record in records:
            if record.visits and record.environment:
                self._homes[record.case.situation] = record.environment

    def place(self, jobs: Sequence[Job], cost: Callable[[Job], float]) -> None:
        """Give each situation without a home one: the longest first, to the group with the least load for its size."""
        situations = grouped(filter(needs_home, jobs), lambda job: job.case.situation)
        seconds_by_key = {key: sum(map(cost, members)) for key, members in situations.items()}
        for key in sorted(situations, key=lambda key: -seconds_by_key[key]):
            if home := self._homes.get(key) or self._lightest(situations[key], seconds_by_key[key]):
                self._homes[key] = home
                self._load[home] += seconds_by_key[key]

    def claim(self, jobs: Iterable[Job], host: Host) -> None:
        """Make the host's group the home of situations that no host could take when they arrived."""
        for job in filter(needs_home, jobs):
            self._homes.setdefault(job.case.situation, host.fingerprint)

    def note_lack(self, case: Case, host: Host, reason: str) -> None:
        """Remember why a host could not measure a case that another host may be able to measure."""
        self._lacks[case.id, host.name] = reason

    def may(self, job: Job, host: Host) -> bool:
        """Whether a host may measure a job."""
        if job.host:
            return host.name == job.host
        return self._is_home(host, job) and not self.lack(job.case, host)

    def has_room(self, job: Job) -> bool:
        """Whether the host that a job names is still there and fits its case, which was chosen for the whole group."""
        return any(host.name == job.host and not self.lack(job.case, host) for host in self._living_hosts)

    def can_take(self, *jobs: Job) -> bool:
        """Whether any living host may measure all of these jobs."""
        return any(all(self.may(job, host) for job in jobs) for host in self._living_hosts)

    def infeasibility(self, job: Job) -> str:
        """Why no host, lost ones included, can measure a job; empty if one can.

        Only hosts of the job's home are asked. If none of them has joined yet, the answer is empty: one still may.
        """
        reasons = [self.lack(job.case, host) for host in self._host_by_name.values() if self._is_home(host, job)]
        if not reasons or not all(reasons):
            return ""
        words, _ = Counter(reasons).most_common(1)[0]
        kind = " of the kind that measures its ranking" if len(reasons) < len(self._host_by_name) else ""
        return f"none of the {len(reasons)} hosts{kind} can measure it: {words}"

    def _is_home(self, host: Host, job: Job) -> bool:
        """Whether a host belongs to the home of a job's ranking; true if it has no home yet, or the job needs none."""
        return not needs_home(job) or self._homes.get(job.case.situation, host.fingerprint) == host.fingerprint

    def _lightest(self, jobs: Sequence[Job], seconds: float) -> str:
        """Return the fingerprint of the group with the least load among those that can take the most of the jobs.

        Hosts with a core for each thread are preferred; a suite may ask for more threads than any host has cores. The
        result is empty if no host can take any of the jobs.
        """
        capacities = [
            (sum(not self.lack(job.case, host) for job in jobs), _has_cores(host, jobs[0].case))
            for host in self._living_hosts
        ]
        best_capacity = max(capacities, default=(0, False))
        places = zip(self._living_hosts, capacities, strict=True)
        sizes = Counter(host.fingerprint for host, capacity in places if capacity == best_capacity and capacity[0] > 0)
        return min(sizes, key=lambda name: ((self._load[name] + seconds) / sizes[name], name), default="")

    def lack(self, case: Case, host: Host) -> str:
        """What a host lacks for a case; empty if nothing is known to be missing."""
        if reason := self._lacks.get((case.id, host.name)):
            return reason
        if case.device != host.device and case.device.partition(":")[0] != host.device.partition(":")[0]:
            return f"they have no {case.device}"
        if host.available_bytes >= ROOMY * self._largest_bytes:
            return ""
        case_bytes = self._needs(case)
        if case_bytes <= host.available_bytes:
            return ""
        return f"it needs at least {gib(case_bytes)}, and {gib(host.available_bytes)} are free"

    def _needs(self, case: Case) -> int:
        """Bytes that a case needs at least; 0 if finding that out would run the user's code."""
        from convbench.measure.preflight import needed_bytes

        if case not in self._bytes_by_case:
            self._bytes_by_case[case] = 0 if names_own_code([case]) else needed_bytes(case)
        return self._bytes_by_case[case]


def _has_cores(host: Host, case: Case) -> bool:
    return not isinstance(case.threads, int) or case.threads <= len(host.cores)
