"""`python -m resfit_ros`: the command line, also where no `resfit` script is installed."""

from resfit_ros.cli.main import main

if __name__ == "__main__":
    main()
