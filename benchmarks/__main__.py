"""Every benchmark, one after another: `make bench`."""

from benchmarks import dpo_step, layouts

dpo_step.main()
layouts.main()
