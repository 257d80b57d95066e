"""Many hosts: one driver hands out pieces of work and collects the records; engines (Ray, Slurm) only carry them.

1. ``engine`` is the contract: workers join, take pieces and report the end of each job.
2. ``rounds`` takes one round at a time and cuts it into pieces; cases that are compared stay on the same host.
3. ``driver`` hands out pieces, issues lost and late ones again, and gives up cases that keep taking their hosts down.
   It keeps a ``roll`` of workers, a ``backlog`` of waiting pieces and a ``ledger`` of open jobs.
4. ``worker`` runs on a host. ``mailbox`` carries pieces and messages if the hosts share nothing but a folder.
"""
