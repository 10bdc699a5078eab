"""python -m aa_lightning.report <run folder> …"""

import argparse
import sys

from aa_lightning.report import write_report
from aa_lightning.system.shown import printable, say_error


def main() -> None:
    parser = argparse.ArgumentParser("python -m aa_lightning.report", description="Write report.html into run folders.")
    parser.add_argument("folder", nargs="+", help="a run folder, such as outputs/<date>/<time>_dpo_ti2t")
    for folder in parser.parse_args().folder:
        try:
            print(printable(write_report(folder.removeprefix("run="))))
        except ValueError as error:
            sys.exit(say_error(str(error)))


if __name__ == "__main__":
    main()
