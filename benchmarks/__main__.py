"""Every benchmark, one after another: `make bench`."""

from benchmarks import commands, dpo_step, drawing, features, grpo_step, layouts, real_lengths, rollout_memory, start

dpo_step.main()
real_lengths.main()
grpo_step.main()
drawing.main()
features.main()
layouts.main()
rollout_memory.main()
start.main()
commands.main()
