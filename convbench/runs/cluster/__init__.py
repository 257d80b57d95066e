"""Many hosts: one driver hands out pieces of work and takes the records back; engines (Ray, Slurm) only carry them.

1. ``engine`` is the contract: workers join, take pieces, and say what became of each job.
2. ``pieces`` cuts a round into pieces, so that what is compared is visited on the same host.
3. ``driver`` hands pieces out, issues lost and late ones again and gives up on what takes its hosts down. It keeps a
   ``roll`` of workers, a ``backlog`` of pieces and a ``ledger`` of every job.
4. ``worker`` is what runs on a host; ``mailbox`` carries pieces and messages where a shared folder is all there is.
"""
