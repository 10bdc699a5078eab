"""Every benchmark, one after another: `make bench`."""

from benchmarks import commands, dpo_step, layouts, rollout_memory, start

dpo_step.main()
layouts.main()
rollout_memory.main()
start.main()
commands.main()
