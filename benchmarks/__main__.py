"""Every benchmark, one after another: `make bench`."""

from benchmarks import dpo_step, layouts, rollout_memory, start

dpo_step.main()
layouts.main()
rollout_memory.main()
start.main()
