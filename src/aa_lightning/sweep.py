"""python -m aa_lightning.sweep <folder>: the table of a sweep."""

from aa_lightning.report.sweep import main

if __name__ == "__main__":
    main()
